package torture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/heymanito/heymanito"
)

// scene is a story that ends as it has to: what a storm leaves to chance, or
// does not have.
type scene struct {
	name   string
	people []string
	play   func(c *cast) error
}

// cast is who plays in a scene.
type cast struct {
	scene  string
	number string // of the performance
	random *rand.Rand
	addr   func() string
	phones []*phone
}

// errLate is the end of a scene for which the machine was too busy: its call has
// rung out meanwhile, say. It is no fault of the server's.
var errLate = errors.New("too late")

// perform plays a scene. Whatever comes of it, nobody of the cast stays behind.
func (s *scene) perform(number string, random *rand.Rand, addr func() string) error {
	c := &cast{scene: s.name, number: number, random: random, addr: addr}
	defer func() {
		for i, p := range c.phones {
			p.cut(i%2 == 0)
		}
	}()
	if err := s.play(c); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// chatPath is somebody of the cast: each performance has people of its own.
func (c *cast) chatPath(who string) string { return castPath(c.scene, who, c.number) }

func castPath(scene, who, number string) string { return scene + ", " + who + " " + number }

func (c *cast) join(who string) (*phone, error) {
	return c.joinBy(newLink(c.addr()), who, anyWay(c.random))
}

func (c *cast) joinBy(l *link, who string, w way) (*phone, error) {
	p, err := pickUp(l, c.chatPath(who), w)
	if err == nil {
		c.phones = append(c.phones, p)
	}
	return p, err
}

// call has ana call luis, whose phone rings.
func (c *cast) call() (ana, luis *phone, callID string, err error) {
	if luis, err = c.join("luis"); err != nil {
		return nil, nil, "", err
	}
	if ana, err = c.join("ana"); err != nil {
		return nil, nil, "", err
	}
	ack, err := ana.ask("initiateCall", c.dial("ana", "luis"))
	if err != nil {
		return nil, nil, "", err
	}
	if _, err = luis.expect("incomingCall"); err == nil {
		_, err = luis.ask("ringCall", ofCall(ack.CallID))
	}
	if err == nil {
		_, err = ana.expect("callRinging")
	}
	return ana, luis, ack.CallID, err
}

// talk is call, and luis answers.
func (c *cast) talk() (ana, luis *phone, callID string, err error) {
	ana, luis, callID, err = c.call()
	if err == nil {
		_, err = luis.ask("acceptCall", c.answer(callID))
	}
	if err == nil {
		_, err = ana.expect("callAccepted")
	}
	if err == nil {
		_, err = ana.ask("callConnected", ofCall(callID))
	}
	return ana, luis, callID, err
}

func (c *cast) dial(from, to string) string {
	return fmt.Sprintf(`{"recipientId":%q,"callerId":%q,"callerInfo":{"name":%q},"media":"audio"}`, c.chatPath(to), c.chatPath(from), from)
}

// answer is luis's, yes or no.
func (c *cast) answer(callID string) string {
	return fmt.Sprintf(`{"callerId":%q,"recipientId":%q,"callId":%q}`, c.chatPath("ana"), c.chatPath("luis"), callID)
}

func ofCall(id string) string { return fmt.Sprintf(`{"callId":%q}`, id) }

// ended expects the end of a call, for a reason.
func ended(p *phone, event, reason string) error {
	e, err := p.expect(event)
	switch {
	case err != nil || e.Reason == reason:
	case e.Reason == string(heymanito.CallTimeout):
		err = errLate
	default:
		err = fmt.Errorf("%s: %s says %q instead of %q", p.user, event, e.Reason, reason)
	}
	return err
}

// calls are the ways in which calls go.
func calls() []*scene {
	two := []string{"ana", "luis"}
	return []*scene{
		{"accepted", two, func(c *cast) error {
			ana, luis, id, err := c.talk()
			if err != nil {
				return err
			}
			if _, err = ana.ask("endCall", ofCall(id)); err != nil {
				return err
			}
			if err = ended(luis, "callEnded", "hangup"); err != nil {
				return err
			}
			ana.goodbye()
			luis.goodbye()
			return nil
		}},
		{"rejected", two, func(c *cast) error {
			ana, luis, id, err := c.call()
			if err != nil {
				return err
			}
			if _, err = luis.ask("rejectCall", c.answer(id)); err != nil {
				return err
			}
			return ended(ana, "callRejected", "declined")
		}},
		{"cancelled", two, func(c *cast) error {
			ana, luis, id, err := c.call()
			if err != nil {
				return err
			}
			if _, err = ana.ask("cancelCall", ofCall(id)); err != nil {
				return err
			}
			return ended(luis, "callCancelled", "caller_cancelled")
		}},
		{"caller says goodbye", two, func(c *cast) error {
			ana, luis, _, err := c.call()
			if err != nil {
				return err
			}
			ana.goodbye()
			return ended(luis, "callCancelled", "caller_gone")
		}},
		{"caller breaks off", two, func(c *cast) error {
			ana, luis, _, err := c.call()
			if err != nil {
				return err
			}
			ana.cut(true)
			return ended(luis, "callCancelled", "caller_gone")
		}},
		{"glare", two, func(c *cast) error {
			ana, err := c.join("ana")
			if err != nil {
				return err
			}
			luis, err := c.join("luis")
			if err != nil {
				return err
			}
			done := make(chan error, 1)
			var hers, his heard
			go func() {
				var err error
				hers, err = ana.ask("initiateCall", c.dial("ana", "luis"))
				done <- err
			}()
			his, err = luis.ask("initiateCall", c.dial("luis", "ana"))
			if other := <-done; err == nil {
				err = other
			}
			if err == nil && (his.CallID != hers.CallID || his.Merged == hers.Merged) {
				err = fmt.Errorf("of two who call each other one has %+v and the other %+v", hers, his)
			}
			for _, p := range []*phone{ana, luis} {
				if err == nil {
					_, err = p.expect("callAccepted")
				}
			}
			if err == nil {
				_, err = luis.ask("endCall", ofCall(his.CallID))
			}
			return err
		}},
		{"answered elsewhere", two, func(c *cast) error {
			other, err := c.join("luis")
			if err != nil {
				return err
			}
			_, luis, id, err := c.talk()
			if err == nil {
				err = ended(other, "callCancelled", "answered_elsewhere")
			}
			if err == nil {
				_, err = luis.ask("endCall", ofCall(id))
			}
			return err
		}},
		{"both break off", two, func(c *cast) error { // and it ends some time
			_, _, _, err := c.talk()
			return err
		}},
		{"no sign of life", two, func(c *cast) error { // and it ends without a word
			ana, luis, id, err := c.call()
			if err == nil {
				_, err = luis.ask("acceptCall", c.answer(id))
			}
			if err == nil {
				_, err = ana.expect("callAccepted")
			}
			return err
		}},
	}
}

// longScenes are the scenes that take their time.
func longScenes() []*scene {
	two := []string{"ana", "luis"}
	return []*scene{
		{"not answered", two, func(c *cast) error {
			ana, luis, _, err := c.call()
			if err != nil {
				return err
			}
			if err = ended(ana, "callRejected", "timeout"); err != nil {
				return err
			}
			return ended(luis, "callCancelled", "timeout")
		}},
		{"nobody there", two, func(c *cast) error {
			ana, err := c.join("ana")
			if err != nil {
				return err
			}
			if _, err = ana.ask("initiateCall", c.dial("ana", "luis")); err != nil {
				return err
			}
			return ended(ana, "callRejected", "timeout")
		}},
		{"flood", two, func(c *cast) error { // who sends all he can, until he is refused
			ana, err := c.join("ana")
			if err != nil {
				return err
			}
			if err := c.write(ana, light, 200, "rate_limited"); err != nil {
				return err
			}
			late := time.Now().Add(phonePatience)
			for { // and is heard again when he has paused
				time.Sleep(1100 * time.Millisecond) // a second at least
				if _, err = ana.ask("getCalls", "{}"); err == nil || time.Now().After(late) {
					return err
				}
			}
		}},
		{"slow reader", two, func(c *cast) error { // who is written to until he is cut off: then what is sent to him is queued
			l := newLink(c.addr())
			l.narrow = true
			if _, err := c.joinBy(l, "luis", overWebSocket); err != nil {
				return err
			}
			ana, err := c.join("ana")
			if err != nil {
				return err
			}
			l.set(stands, stands) // nor does he see that he is cut off
			return c.write(ana, heavy, 10, "queued")
		}},
		{"tunnel", two[:1], func(c *cast) error { // from which nobody comes back
			l := newLink(c.addr())
			ana, err := c.joinBy(l, "ana", overWebSocket)
			if err != nil {
				return err
			}
			l.set(swallows, swallows)
			select {
			case <-ana.client.ctx.Done(): // later than the server has given him up
				return nil
			case <-time.After(2 * phonePatience):
				return errors.New("a client hears nothing, and does not mind")
			}
		}},
	}
}

// write has ana write to luis until it is answered like that.
func (c *cast) write(ana *phone, w weight, ahead int, answer string) error {
	late := time.Now().Add(2 * phonePatience)
	for n := 0; ana.had(answer) == 0; n++ {
		if time.Now().After(late) {
			return errLate // he cannot write fast enough
		}
		if err := ana.say(newLetter(c.random, ana.user, c.chatPath("luis"), strconv.Itoa(n), w), ahead); err != nil {
			return err
		}
	}
	return nil
}

// visit is somebody who comes and goes, or does not come all the way.
func visit() *scene {
	return &scene{"visit", []string{"ana"}, func(c *cast) error {
		l := newLink(c.addr())
		hard := c.random.IntN(2) == 0
		switch n := c.random.IntN(8); n {
		case 0: // the line is cut somewhere in the handshake
			l.cutAfter(1 + c.random.IntN(300))
			if p, err := c.joinBy(l, "ana", anyWay(c.random)); err == nil {
				p.cut(hard)
			}
			return nil
		case 1: // nothing is said
			nc, err := l.open()
			if err == nil {
				_, err = nc.Write([]byte("GET /socket.io/?EIO=4"))
			}
			l.cut(hard)
			return err
		case 2: // CONNECT is not said
			p, err := dialClient(l, c.chatPath("ana"), c.random.IntN(2) == 0, func(packet) bool { return true })
			l.cut(hard)
			if err == nil {
				p.end(errCut)
			}
			return err
		default:
			p, err := c.joinBy(l, "ana", anyWay(c.random))
			switch {
			case err != nil:
			case n < 5:
				p.goodbye()
			default:
				p.cut(hard)
			}
			return err
		}
	}}
}
