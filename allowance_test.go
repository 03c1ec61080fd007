package heymanito_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heymanito/heymanito"
)

// flood sends n events in one go, and returns how many acks have which outcome
// once nothing happens any more.
func (p *person) flood(n int, event, payload string) map[string]int {
	p.app.t.Helper()
	before := len(p.Log())
	go func() { // the server may take its time
		for i := range n {
			if p.Send(fmt.Sprintf(`42%d[%q,%s]`, 1_000_000+i, event, payload)) != nil {
				return
			}
		}
	}()
	outcomes := map[string]int{}
	for deadline := time.Now().Add(time.Hour); time.Now().Before(deadline); time.Sleep(time.Second) {
		synctest.Wait()
		acks := 0
		clear(outcomes)
		for _, e := range p.Log()[before:] {
			if !strings.HasPrefix(e.Name, "ack ") {
				continue
			}
			acks++
			switch said := string(e.Args[0]); {
			case strings.Contains(said, `"status":"ok"`):
				outcomes["ok"]++
			default:
				_, code, _ := strings.Cut(said, `"code":"`)
				code, _, _ = strings.Cut(code, `"`)
				outcomes[code]++
			}
		}
		if acks == n {
			return outcomes
		}
	}
	p.app.t.Fatalf("of %d events only %v were answered", n, outcomes)
	return nil
}

func rates(device, user heymanito.Rate) heymanito.Option { return heymanito.WithRates(device, user) }

// A client with a backlog is read slowly, and loses nothing; the others do not
// notice.
func TestRateSlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, rates(heymanito.Rate{PerSecond: 100, Burst: 50}, heymanito.Rate{}))
		ann, bob := a.join("ann"), a.join("bob")
		if got := ann.flood(50, "getCalls", "null"); got["ok"] != 50 || time.Now().UnixMilli() != begin {
			t.Errorf("of 50 events at once %v, after %d ms", got, time.Now().UnixMilli()-begin)
		}
		if got := ann.flood(500, "getCalls", "null"); got["ok"] != 500 {
			t.Errorf("of 500 events more than that %v", got)
		}
		if took := time.Now().UnixMilli() - begin; took < 4900 || took > 6000 {
			t.Errorf("they took %d ms, want 5000", took)
		}
		at := time.Now()
		bob.says(`{"status":"ok","calls":[]}`, "getCalls")
		if !time.Now().Equal(at) {
			t.Errorf("bob's event took %v", time.Since(at))
		}
	})
}

// Who goes on is refused, until he pauses. He can see for how long.
func TestRateRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, rates(heymanito.Rate{PerSecond: 100, Burst: 50}, heymanito.Rate{}))
		ann := a.join("ann")
		got := ann.flood(10_000, "getCalls", "null")
		if got["ok"] < 1000 || got["ok"] > 1100 || got["ok"]+got["rate_limited"] != 10_000 {
			t.Errorf("of 10,000 events %v, want 10 s of them at 100 a second and 50 at once", got)
		}
		if took := time.Now().UnixMilli() - begin; took < 18_000 || took > 21_000 {
			t.Errorf("they were answered in %d ms, want 10 s slowly and 1,000 a second of the rest", took)
		}
		if n := a.log.Count("sends too much"); n != 1 {
			t.Errorf("it is in the log %d times", n)
		}
		time.Sleep(time.Second)
		if got := ann.code("getCalls"); got != "ok" {
			t.Errorf("after a pause %s", got)
		}
	})
}

// The rate is looked at after shape and identity, and before the host is asked,
// at every event.
func TestRateOfEveryEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keeping(t, heymanito.WithAuth(until), rates(heymanito.Rate{PerSecond: 2, Burst: 30}, heymanito.Rate{}),
			heymanito.Relay("wave"), heymanito.On("ask", func(context.Context, heymanito.Event) (any, error) { return nil, nil }))
		ann := a.join("ann", token("ann", 0))
		ann.flood(60, "getCalls", "null") // 10 s of patience, and some
		for event, payload := range map[string]string{
			"sendMessage":     mail("m1", "ann", "bob"),
			"markAsRead":      `{"senderChatPath":"bob","recipientChatPath":"ann"}`,
			"markAsDelivered": `{"senderChatPath":"bob","recipientChatPath":"ann"}`,
			"initiateCall":    `{"recipientId":"bob","callerId":"ann","roomName":"r"}`,
			"acceptCall":      `{"callerId":"bob","roomName":"r"}`,
			"rejectCall":      `{"callerId":"bob","recipientId":"ann"}`,
			"ringCall":        `{"callId":"x"}`,
			"callConnected":   `{"callId":"x"}`,
			"cancelCall":      `{"callId":"x"}`,
			"endCall":         `{"callId":"x"}`,
			"getCallToken":    `{"callId":"x"}`,
			"getCalls":        `null`,
			"refreshAuth":     fresh("ann", 100),
			"wave":            `{"senderChatPath":"ann","recipientChatPath":"bob"}`,
			"ask":             `1`,
		} {
			if got := ann.code(event, payload); got != "rate_limited" {
				t.Errorf("%s was answered %s, want rate_limited", event, got)
			}
		}
		// The caller who knows only S hears of his dial.
		if got := ann.Named("callRejected"); len(got) != 1 || string(got[0].Args[0]) != `{"recipientId":"bob","reason":"failed"}` {
			t.Errorf("ann was told of her dial %v", got)
		}
		for event, want := range map[string]string{
			mail("m1", "bob", "ann"): "identity_mismatch",
			mail("", "ann", "bob"):   "invalid",
		} {
			if got := ann.code("sendMessage", event); got != want {
				t.Errorf("%s was answered %s, want %s", event, got, want)
			}
		}
		if got := ann.code("no such event"); got != "invalid" {
			t.Errorf("an unknown event was answered %s", got)
		}
	})
}

// Many devices of one user are no way around.
func TestRateOfUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, rates(heymanito.Rate{}, heymanito.Rate{PerSecond: 10, Burst: 10}))
		one, two, bob := a.join("ann"), a.join("ann"), a.join("bob")
		one.flood(5, "getCalls", "null")
		two.flood(5, "getCalls", "null")
		at := time.Now()
		two.code("getCalls")
		if took := time.Since(at); took != 100*time.Millisecond {
			t.Errorf("the 11th event of ann's two devices took %v, want 100ms", took)
		}
		at = time.Now()
		bob.code("getCalls")
		if took := time.Since(at); took != 0 {
			t.Errorf("bob's first took %v", took)
		}
	})
}

// An event that would have to wait for long is refused at once: meanwhile nobody
// would notice that its client has gone.
func TestRateTooLow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, rates(heymanito.Rate{PerSecond: 0.1, Burst: 2}, heymanito.Rate{PerSecond: 0.1, Burst: 2}))
		ann := a.join("ann")
		if got := ann.flood(10, "getCalls", "null"); got["ok"] != 2 || got["rate_limited"] != 8 {
			t.Errorf("of 10 events %v", got)
		}
		time.Sleep(9 * time.Second) // flood has waited for a second
		if got := ann.code("getCalls"); got != "ok" {
			t.Errorf("after ten seconds %s", got)
		}
	})
}

func TestWithRatesRefusesNonsense(t *testing.T) {
	for _, r := range []heymanito.Rate{{PerSecond: 1}, {Burst: 1}, {PerSecond: -1, Burst: 1}, {PerSecond: 1, Burst: -1}} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); !strings.Contains(said, "WithRates") {
					t.Errorf("%v: %s", r, said)
				}
			}()
			heymanito.New(heymanito.WithRates(r, heymanito.Rate{}))
		}()
	}
}
