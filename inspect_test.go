package heymanito_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/internal/wiretest"
)

func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithAuth(until))
		a.join("bob", token("bob", 0)).sends("m1", "ann", 1, "queued")
		ann := a.join("ann", wiretest.Auth(`{"token":"ann 3600","deviceId":"phone","features":["acks"],"since":{}}`))
		ann.dial("bob", "r")
		time.Sleep(time.Second)
		v, err := a.Inspect(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		a.called(v.Inbox.Epoch, "<epoch>")
		for _, c := range v.Calls {
			a.called(c.ID, "<call>")
		}
		got := a.plain(string(b))
		for _, want := range []string{
			`"chatPath": "ann"`, `"online": true`, `"socketId": "<ann>"`, `"deviceId": "phone"`, `"transport": "websocket"`,
			`"expires": "2000-01-01T01:00:00Z"`, `"features": [
    "acks"
   ]`, `"stock": false`, `"told": 1`, `"proven": 0`, `"epoch": "<epoch>"`, `"event": "receiveMessage"`, `"peer": "bob"`, `"id": "\"m1\""`,
			`"callId": "<call>"`, `"state": "ringing"`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("there is no %s in\n%s", want, got)
			}
		}
		for _, secret := range []string{"content", "hola", "3600", "claims"} {
			if strings.Contains(got, secret) {
				t.Errorf("there is %q in\n%s", secret, got)
			}
		}
	})
}

// Of a long inbox it is the end that is shown, and of nobody nothing.
func TestInspectMuchAndNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t)
		bob := a.join("bob")
		for i := range 150 {
			bob.sends(fmt.Sprint("m", i), "ann", i+1, "queued")
		}
		v, err := a.Inspect(t.Context(), "ann")
		if n := len(v.Inbox.Entries); err != nil || n != 100 || v.Inbox.Entries[0].Seq != 51 || v.Inbox.Entries[99].Seq != 150 {
			t.Errorf("%d entries, %v", n, err)
		}
		v, err = a.Inspect(t.Context(), "zoe")
		if b, _ := json.Marshal(v); err != nil || strings.Contains(string(b), "null") {
			t.Errorf("of nobody: %s, %v", b, err)
		}
		if v, err = start(t).Inspect(t.Context(), "ann"); err != nil || v.Inbox != nil {
			t.Errorf("without an inbox: %+v, %v", v, err)
		}
	})
}
