package wiretest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Poll is an Engine.IO session on HTTP long-polling. Like WS it does as it is
// told, right or wrong.
type Poll struct {
	URL  string // of the session's requests
	HTTP *http.Client
}

// OpenPoll opens a session for user. Its connections are its own; Close ends
// them.
func OpenPoll(base, user string) (*Poll, error) {
	return OpenPollAt(base+"/socket.io/", user, NewHTTP())
}

// OpenPollAt is OpenPoll at any path, with a client that may be somebody else's.
func OpenPollAt(at, user string, client *http.Client) (*Poll, error) {
	p := &Poll{
		URL:  at + "?" + url.Values{"EIO": {"4"}, "transport": {"polling"}, "userId": {user}}.Encode(),
		HTTP: client,
	}
	a, err := p.Get(context.Background())
	if err == nil && a.Status != http.StatusOK {
		err = &ErrStatus{Status: a.Status, Body: a.Body}
	}
	var open struct{ SID string }
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimPrefix(a.Body, "0")), &open)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("opening a session on polling: %w", err)
	}
	p.URL += "&sid=" + url.QueryEscape(open.SID)
	return p, nil
}

// NewHTTP returns an HTTP client whose connections are shared with nobody.
func NewHTTP() *http.Client {
	return &http.Client{Timeout: 3 * Timeout, Transport: &http.Transport{DisableCompression: true}}
}

// Answer is what a request of a session was answered with.
type Answer struct {
	Status  int
	Header  http.Header
	Body    string
	Packets []string // of a payload: Body cut at the separators
}

// Do sends a request and reads its answer.
func (p *Poll) Do(r *http.Request) (Answer, error) {
	resp, err := p.HTTP.Do(r)
	if err != nil {
		return Answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return Answer{}, err
	}
	return Answer{resp.StatusCode, resp.Header, string(body), strings.Split(string(body), "\x1e")}, nil
}

// Get polls.
func (p *Poll) Get(ctx context.Context) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return Answer{}, err
	}
	return p.Do(r)
}

// Post sends a payload as it is.
func (p *Poll) Post(payload string) (Answer, error) {
	return p.PostBody(strings.NewReader(payload), "text/plain;charset=UTF-8")
}

// PostBody sends a body; if it is no reader of the standard library it goes
// out in chunks.
func (p *Poll) PostBody(body io.Reader, contentType string) (Answer, error) {
	r, err := http.NewRequest(http.MethodPost, p.URL, body)
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Content-Type", contentType)
	return p.Do(r)
}

// Send posts packets, and fails unless the server takes them.
func (p *Poll) Send(packets ...string) error {
	a, err := p.Post(strings.Join(packets, "\x1e"))
	if err == nil && (a.Status != http.StatusOK || a.Body != "ok") {
		err = &ErrStatus{Status: a.Status, Body: a.Body}
	}
	return err
}

// Next polls until a packet that begins with prefix, and returns all packets
// up to the end of the payload that has it. It answers pings.
func (p *Poll) Next(prefix string) (packets []string, err error) {
	for found := false; !found; {
		a, err := p.Get(context.Background())
		if err != nil {
			return packets, err
		}
		if a.Status != http.StatusOK {
			return packets, &ErrStatus{Status: a.Status, Body: a.Body}
		}
		for _, packet := range a.Packets {
			packets = append(packets, packet)
			found = found || strings.HasPrefix(packet, prefix)
			switch packet {
			case "1":
				return packets, io.EOF
			case "2":
				if err := p.Send("3"); err != nil {
					return packets, err
				}
			}
		}
	}
	return packets, nil
}

// Join connects to the main namespace and waits for the inbox.
func (p *Poll) Join() error {
	if err := p.Send("40"); err != nil {
		return err
	}
	_, err := p.Next(`42["inboxReady",`)
	return err
}

// Quit ends the session, also one that the server has closed and the client has
// not heard of, and closes the connections.
func (p *Poll) Quit() {
	_ = p.Send("1") // refused if the session is closing: then the poll ends it
	_, _ = p.Get(context.Background())
	p.Close()
}

// Close cuts the connections. A session that has no poll pending lives on
// until the server misses its heartbeat.
func (p *Poll) Close() {
	p.HTTP.CloseIdleConnections()
}
