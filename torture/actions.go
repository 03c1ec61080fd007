package torture

import (
	"math/rand/v2"
	"strconv"
)

// act does one thing at random.
func (d *device) act(s *session) error {
	select {
	case victim := <-d.jobs:
		d.storm.count("sent a lot to a slow reader")
		for range 10 {
			if err := d.say(s, d.write(victim.user.name, heavy)); err != nil {
				return err
			}
		}
		return nil
	default:
	}
	if d.log.acks && d.random.IntN(2) == 0 {
		if err := s.callBack(); err != nil {
			return err
		}
	}
	peer := d.user.peer(d.random)
	switch n := d.random.IntN(100); {
	case n < 45:
		return d.say(s, d.write(peer, light))
	case n < 48:
		return d.say(s, d.write(peer, long))
	case n < 55:
		return d.say(s, d.write(peer, photos))
	case n < 58: // the same digits, twice
		id := strconv.Itoa(d.user.next())
		if err := d.say(s, newLetter(d.random, d.user.name, peer, id, light)); err != nil {
			return err
		}
		return d.say(s, newLetter(d.random, d.user.name, peer, strconv.Quote(id), light))
	case n < 61: // the same id, to two people
		id := d.id()
		if err := d.say(s, newLetter(d.random, d.user.name, peer, id, light)); err != nil {
			return err
		}
		return d.say(s, newLetter(d.random, d.user.name, d.user.name, id, light))
	case n < 64: // twice, before it is acked
		m := d.write(peer, weight(d.random.IntN(3)))
		if err := d.say(s, m); err != nil {
			return err
		}
		d.storm.count("sent twice at once")
		return s.emit(m)
	case n < 68:
		return d.repeat(s)
	case n < 72: // what another device is sending
		if m := d.user.unacked(d.random, d); m != nil {
			d.storm.count("sent by two devices")
			return s.emit(m)
		}
	case n < 82:
		return d.mark(s, markAsRead, true)
	case n < 87:
		return d.mark(s, markAsRead, false)
	case n < 90:
		return d.mark(s, markAsDelivered, d.random.IntN(2) == 0)
	case n < 91:
		d.storm.count("receipts for what never was")
		return s.receipt(markAsRead, peer, `"never sent"`, true)
	}
	return nil
}

// id is a new message id, a number or a string.
func (d *device) id() string {
	n := strconv.Itoa(d.user.next())
	switch d.random.IntN(3) {
	case 0:
		return n
	case 1:
		return strconv.Quote(n)
	}
	return strconv.Quote("m-" + n + "-é")
}

func (d *device) write(to string, w weight) *letter {
	return newLetter(d.random, d.user.name, to, d.id(), w)
}

// say sends a message that is sent again until it is acked.
func (d *device) say(s *session, m *letter) error {
	d.mu.Lock()
	d.outbox = append(d.outbox, m)
	d.mu.Unlock()
	d.storm.count("sent")
	return s.emit(m)
}

// burst sends some messages and waits for nothing.
func (d *device) burst(s *session, n int) {
	for range n {
		if d.say(s, d.write(d.user.peer(d.random), weight(d.random.IntN(3)))) != nil {
			return
		}
	}
}

// sendAgain sends what was not acked in an earlier connection; some of it is
// given up.
func (d *device) sendAgain(s *session) {
	d.mu.Lock()
	var again []*letter
	for _, m := range d.outbox {
		if d.random.IntN(5) > 0 {
			again = append(again, m)
		}
	}
	d.outbox = append([]*letter(nil), again...)
	d.mu.Unlock()
	for _, m := range again {
		d.storm.count("sent again")
		if s.emit(m) != nil {
			return
		}
	}
}

// repeat sends what was acked already, sometimes as something else: the first
// stands.
func (d *device) repeat(s *session) error {
	d.mu.Lock()
	if len(d.done) == 0 {
		d.mu.Unlock()
		return nil
	}
	m := d.done[d.random.IntN(len(d.done))]
	d.mu.Unlock()
	d.storm.count("sent once more")
	if d.random.IntN(2) == 0 {
		m = newLetter(d.random, m.from, m.to, m.id, light)
	}
	return s.emit(m)
}

// mark gives a receipt to whoever has written.
func (d *device) mark(s *session, event string, upTo bool) error {
	d.mu.Lock()
	from, id := pick(d.random, d.recent)
	d.mu.Unlock()
	if from == "" {
		return nil
	}
	if !upTo {
		id = ""
	}
	d.storm.count(event)
	return s.receipt(event, from, id, false)
}

// pick chooses one of the messages that came.
func pick(random *rand.Rand, recent map[string][]string) (from, id string) {
	n := 0
	for peer, ids := range recent {
		if n++; random.IntN(n) == 0 {
			from, id = peer, ids[random.IntN(len(ids))]
		}
	}
	return from, id
}
