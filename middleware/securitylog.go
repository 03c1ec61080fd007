package middleware

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
)

// How many lines a SecurityLog writes.
const (
	linesAtOnce       = 500
	linesPerMinute    = 60
	linesAtOncePer    = 10 // of one address
	linesPerMinutePer = 6
)

// How many bytes of what a client sends get into a line.
const (
	maxMethodBytes = 16
	maxRemoteBytes = 64
	maxTextBytes   = 128
)

// SecurityLog writes a line, at Info, for every request that is refused: what is
// answered 400, 401, 403, 413, 426, 429 or 503. Put it around everything that may
// refuse one:
//
//	limit := middleware.HandshakeLimit(60, 30)
//	mux.Handle("/socket.io/", middleware.SecurityLog(log)(limit(rt)))
//
// The line is "a request was refused", with the keys
//
//	remote     the client's address, see [WithRemoteAddr]
//	method     GET, …
//	path       without the query
//	status     429, …
//	code       why: rate_limited, unauthorized, … or the number of an Engine.IO
//	           error; absent when there is none
//	userAgent  its first 128 bytes; absent when there is none
//	dropped    how many lines before this one were not written; absent when 0
//
// The query, cookies and tokens are never in it. What a client has sent is cut,
// so that a line has less than 1 KB. One address gets 10 lines at once and 6 a
// minute, all of them together 500 at once and 60 a minute: less than 90 MB a
// day, whatever comes. What is dropped is counted, and the next line tells.
//
// A client whose token is refused on a realtime connection has no line here: it
// is told in the CONNECT packet's answer, and the server logs "a client was
// refused" itself.
//
// The ResponseWriter that next is given has Hijack, Flush and Unwrap. A GET that
// has a sid (a poll, which may wait for long) is given net/http's own, so that
// the server can park it; what is refused of these has no code in its line.
//
// SecurityLog panics when log is nil.
func SecurityLog(log *slog.Logger, opts ...GateOption) func(http.Handler) http.Handler {
	if log == nil {
		panic("middleware.SecurityLog: the logger is nil: leave SecurityLog out for silence")
	}
	l := &securityLog{
		log:  log,
		gate: newGateConfig(opts),
		each: newMeter(linesPerMinutePer, linesAtOncePer),
		all:  newMeter(linesPerMinute, linesAtOnce),
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(next, w, r) })
	}
}

type securityLog struct {
	log       *slog.Logger
	gate      *gateConfig
	each, all *meter
	dropped   atomic.Int64
}

func (l *securityLog) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && hasSession(r.URL.RawQuery) {
		if status := ownStatus(w); status.CanInt() {
			next.ServeHTTP(w, r)
			l.answered(r, int(status.Int()), "")
			return
		}
	}
	sw := &statusWriter{ResponseWriter: w}
	next.ServeHTTP(sw, r)
	l.answered(r, sw.status, sw.code)
}

// ownStatus is where net/http's own ResponseWriter has the status that it was
// told to write; it is written on the goroutine that serves the request, and not
// at all once the connection was taken out. For any other writer, and should a
// later net/http have it elsewhere, it is no number.
func ownStatus(w http.ResponseWriter) reflect.Value {
	if v := reflect.ValueOf(w); v.Type().String() == "*http.response" {
		return v.Elem().FieldByName("status")
	}
	return reflect.Value{}
}

// answered writes the line, if there is to be one.
func (l *securityLog) answered(r *http.Request, status int, code string) {
	if !isRefusal(status) || !l.log.Enabled(r.Context(), slog.LevelInfo) {
		return
	}
	remote := l.gate.remoteAddr(r)
	if l.each.take(client(remote)) > 0 || l.all.take(nil) > 0 {
		l.dropped.Add(1)
		return
	}
	path, _, _ := strings.Cut(r.URL.Path, "?") // a query that was escaped is one all the same
	attrs := []slog.Attr{
		slog.String("remote", cut(remote, maxRemoteBytes)),
		slog.String("method", cut(r.Method, maxMethodBytes)),
		slog.String("path", cut(path, maxTextBytes)),
		slog.Int("status", status),
	}
	if code != "" {
		attrs = append(attrs, slog.String("code", code))
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, slog.String("userAgent", cut(agent, maxTextBytes)))
	}
	if dropped := l.dropped.Swap(0); dropped > 0 {
		attrs = append(attrs, slog.Int64("dropped", dropped))
	}
	l.log.LogAttrs(r.Context(), slog.LevelInfo, "a request was refused", attrs...)
}

func isRefusal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge,
		http.StatusUpgradeRequired, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// cut returns at most n bytes of s and a sign that there was more, and of what
// cannot be printed only that it was there: quoting must not make it long again.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// statusWriter finds out what a request is answered with.
type statusWriter struct {
	http.ResponseWriter
	status int // 0: nothing yet
	code   string
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.code == "" && isRefusal(w.status) {
		w.code = codeOf(b)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher.
func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // it has no way to say that it cannot
}

// Hijack implements http.Hijacker.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// codeOf finds the code in the body of a refusal: ours, or Engine.IO's, whose
// message begins with one where the number says little.
func codeOf(body []byte) string {
	var e struct {
		Code    any
		Message string
	}
	if len(body) > 1<<10 || json.Unmarshal(body, &e) != nil {
		return ""
	}
	switch code := e.Code.(type) {
	case string:
		if isCode(code) {
			return code
		}
	case float64:
		if word, _, found := strings.Cut(e.Message, ":"); found && isCode(word) {
			return word
		}
		return strconv.FormatFloat(code, 'g', -1, 64)
	}
	return ""
}

// isCode reports whether s has the form of a code, and so nothing in it that
// belongs to somebody.
func isCode(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}
