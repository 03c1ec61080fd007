package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heymanito/heymanito"
)

// phone is a device that is told what to do: it says something, and waits for
// what comes of that.
type phone struct {
	user   string
	client *client

	mu      sync.Mutex // guards the rest
	ready   bool       // inboxReady has come
	refused string
	events  []heard // that nobody has waited for yet
	asked   map[int]*heard
	last    int            // number of the last ack that was asked for
	acks    int            // that have come
	answers map[string]int // of those: how many had a delivery, or a code
	change  chan struct{}  // closed at the next change
}

// heard is what events and acks may say to a phone.
type heard struct {
	event                                            string // "": it is an ack
	Status, Code, Delivery, CallID, RoomName, Reason string
	Merged                                           bool
}

// phonePatience is how long a phone waits for what has to happen.
const phonePatience = 20 * time.Second

// way is how a phone is connected.
type way int

const (
	overWebSocket way = iota
	overPolling
	overUpgrade
	ways
)

func anyWay(random *rand.Rand) way { return way(random.IntN(int(ways))) }

// pickUp connects a phone; it returns when the phone is told everything live.
func pickUp(l *link, user string, w way) (*phone, error) {
	p := &phone{user: user, asked: map[int]*heard{}, answers: map[string]int{}, change: make(chan struct{})}
	var err error
	if p.client, err = dialClient(l, user, w == overWebSocket, p.take); err != nil {
		l.cut(false)
		return nil, fmt.Errorf("%s: %w", user, err)
	}
	p.client.start()
	if err = p.client.send(packet{text: "40"}); err == nil {
		err = p.await("the replay", func() bool { return p.ready })
	}
	if err == nil && w == overUpgrade {
		err = p.client.upgrade(func(upgradeStep) bool { return true })
	}
	if err != nil {
		p.cut(false)
		return nil, fmt.Errorf("%s: %w", user, err)
	}
	return p, nil
}

// take takes a packet.
func (p *phone) take(in packet) bool {
	if in.binary != nil || !strings.HasPrefix(in.text, "4") {
		return true
	}
	head, args, _, err := parse(in.text[1:])
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.refused = err.Error()
	case head.kind == '4' || head.kind == '1':
		p.refused = args
	case head.kind == '3':
		p.answered(head.ack, args)
	case head.kind == '2' || head.kind == '5':
		p.told(args)
	}
	close(p.change)
	p.change = make(chan struct{})
	return true
}

func (p *phone) answered(id, args string) { // with mu
	var all []heard
	n, err := strconv.Atoi(id)
	if err != nil || json.Unmarshal([]byte(args), &all) != nil || len(all) != 1 {
		p.refused = "an ack like this: " + args
		return
	}
	p.acks++
	p.answers[all[0].Delivery+all[0].Code]++
	if waits := p.asked[n]; waits != nil {
		*waits = all[0]
		delete(p.asked, n)
	}
}

func (p *phone) told(args string) { // with mu
	name, rest, _ := strings.Cut(strings.TrimPrefix(args, `["`), `"`)
	e := heard{event: name}
	switch name {
	case onlineUsers, "contact_online", "contact_offline":
		return
	case "inboxReady":
		p.ready = true
	default:
		if json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(rest, ","), "]")), &e) != nil {
			p.refused = "an event like this: " + args
		}
	}
	p.events = append(p.events, e)
}

// await waits until ok, which is called with mu.
func (p *phone) await(what string, ok func() bool) error {
	late := time.NewTimer(phonePatience)
	defer late.Stop()
	for {
		p.mu.Lock()
		yes, refused, change := ok(), p.refused, p.change
		p.mu.Unlock()
		switch {
		case refused != "":
			return fmt.Errorf("%s was told %s", p.user, refused)
		case yes:
			return nil
		}
		select {
		case <-change:
		case <-p.client.ctx.Done():
			return fmt.Errorf("%s waits for %s, and his connection has ended", p.user, what)
		case <-late.C:
			return fmt.Errorf("%s waits for %s, which does not come", p.user, what)
		}
	}
}

// expect waits for an event, and takes it.
func (p *phone) expect(event string) (e heard, err error) {
	err = p.await(event, func() bool {
		i := slices.IndexFunc(p.events, func(e heard) bool { return e.event == event })
		if i < 0 {
			return false
		}
		e = p.events[i]
		p.events = slices.Delete(p.events, i, i+1)
		return true
	})
	return e, err
}

// ask emits an event, and waits for its ack, which has to be ok.
func (p *phone) ask(event, payload string) (heard, error) {
	var ack heard
	err := p.emit(&ack, func(call int) []packet {
		return []packet{{text: fmt.Sprintf("42%d[%q,%s]", call, event, payload)}}
	})
	if err == nil {
		err = p.await("the ack of "+event, func() bool { return ack.Status != "" })
	}
	switch {
	case err != nil || ack.Status == "ok":
	case ack.Code == string(heymanito.CodeConflict):
		err = errLate
	default:
		err = fmt.Errorf("%s: %s is answered %s", p.user, event, ack.Code)
	}
	return ack, err
}

// emit sends an event that asks for an ack, which goes to waits; it may be nil.
func (p *phone) emit(waits *heard, event func(call int) []packet) error {
	p.mu.Lock()
	p.last++
	n := p.last
	if waits != nil {
		p.asked[n] = waits
	}
	p.mu.Unlock()
	return p.client.send(event(n)...)
}

// say sends a message, and waits for no ack; but at most ahead are outstanding.
func (p *phone) say(m *letter, ahead int) error {
	err := p.await("acks", func() bool { return p.last-p.acks <= ahead })
	if err != nil {
		return err
	}
	return p.emit(nil, m.packets)
}

// had is how many acks had a delivery, or a code.
func (p *phone) had(answer string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers[answer]
}

// goodbye ends the connection as socket.disconnect() does.
func (p *phone) goodbye() {
	_ = p.client.send(packet{text: "41"}) // it may have ended
	p.cut(false)
}

// cut breaks the line off.
func (p *phone) cut(hard bool) {
	p.client.link.cut(hard)
	p.client.end(errCut)
	<-p.client.done
}
