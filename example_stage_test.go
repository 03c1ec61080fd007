package heymanito_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/heymanitotest"
	"github.com/heymanito/heymanito/internal/wiretest"
)

// What the examples share. Each makes a server as a host would, and then shows
// what clients notice of it. These are heymanitotest's; yours are socket.io-client,
// in whatever language: io("https://api.example.com", {query: {userId: "ann"}}).

// The server's log is of no interest in an example.
var quiet = heymanito.WithLogger(slog.New(slog.DiscardHandler))

// stage is a handler that is served, with a realtime server in it.
type stage struct {
	*heymanitotest.App
	t  *wiretest.Example
	rt *heymanito.Server
}

// serve serves a realtime server that is mounted nowhere.
func serve(rt *heymanito.Server) *stage { return serveIn(rt, rt) }

// serveIn serves a host's handler, in which rt is mounted.
func serveIn(h http.Handler, rt *heymanito.Server, opts ...heymanitotest.AppOption) *stage {
	t := &wiretest.Example{}
	t.Cleanup(func() { wiretest.NoLeaks(t, "heymanito/heymanito", "internal/engineio", "internal/socketio") })
	app := heymanitotest.Serve(t, h, opts...)
	t.Cleanup(func() {
		ctx, now := context.WithCancel(context.Background())
		now() // nobody is to reconnect one after the other
		_ = rt.Shutdown(ctx)
	})
	return &stage{app, t, rt}
}

// close ends the clients, the server and what serves it, in this order.
func (s *stage) close() { s.t.Close() }

// connect is Connect, which in a test of yours takes its t. From inboxReady on what
// is for a device is sent to it at once.
func (s *stage) connect(user string, opts ...heymanitotest.Option) *heymanitotest.Client {
	c := s.Connect(s.t, user, opts...)
	if s.rt.Stats().Inbox != nil {
		c.Expect("inboxReady")
	}
	return c
}

// refused is Refused, likewise.
func (s *stage) refused(user string, opts ...heymanitotest.Option) heymanito.Code {
	return s.Refused(s.t, user, opts...)
}

// answer is what a request was answered.
type answer struct {
	Status string
	Header http.Header
}

// get makes a request, as a page of some origin if that is not empty.
func (s *stage) get(path, origin string) answer {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	_ = resp.Body.Close() // nobody reads it
	return answer{resp.Status, resp.Header}
}

// textMessage is what a client sends.
func textMessage(id, from, to, content string) map[string]any {
	return map[string]any{"id": id, "senderChatPath": from, "recipientChatPath": to, "content": content}
}

// pick leaves of an object what an example is about: times and ids change.
func pick(object json.RawMessage, members ...string) string {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	for i, m := range members {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s", m, all[m])
	}
	return b.String()
}
