package heymanito

import (
	"context"
	"slices"

	"github.com/heymanito/heymanito/internal/engineio"
	"github.com/heymanito/heymanito/internal/socketio"
)

// Scoped presence, for hosts with the Contacts hook. There is one rule: y's
// devices are told that x is online while x is, y has x as a contact, and x has
// y. Whatever changes, circles.pair asks again.

// circles are the contacts of every user who is online here, or elsewhere and
// a contact of somebody here. The roster's mutex guards them.
type circles struct {
	roster  *roster
	of      map[string]*circle
	knownBy map[string]map[string]*circle // chatPath → circles that have him as a contact
	asking  map[string]*question
}

// question is the Contacts hook being asked about a user, perhaps several times
// at once: who asked last has the answer that counts, whenever it comes.
type question struct {
	asked, answered int // numbers of calls of the hook
	pending         int
	contacts        []string // of the call number answered
}

// circle is one user's contacts, and what his devices were told of them.
type circle struct {
	user     string
	contacts map[string]bool
	sees     map[string]bool // whom his devices believe online
	devices  []*device
	entering int // devices of his that are connecting
}

func (cs *circles) init(r *roster) {
	cs.roster, cs.of, cs.knownBy, cs.asking = r, map[string]*circle{}, map[string]map[string]*circle{}, map[string]*question{}
}

// askContacts calls the Contacts hook about a user, and answer with what it has
// said.
func (r *roster) askContacts(ctx context.Context, user string, answer func(contacts []string)) error {
	r.mu.Lock()
	q := r.circles.asking[user]
	if q == nil {
		q = &question{}
		r.circles.asking[user] = q
	}
	q.asked++
	q.pending++
	number := q.asked
	r.mu.Unlock()

	contacts, err := r.srv.contacts(ctx, user)

	r.mu.Lock()
	defer r.mu.Unlock()
	if q.pending--; q.pending == 0 {
		delete(r.circles.asking, user)
	}
	if err != nil {
		return err
	}
	if number > q.answered {
		q.answered, q.contacts = number, contacts
	}
	answer(q.contacts)
	return nil
}

// enter finds out the contacts of a user who connects, before anybody hears of
// it. If it does, entered has to follow.
func (r *roster) enter(ctx context.Context, user string) error {
	return r.askContacts(ctx, user, func(contacts []string) {
		c := r.circles.need(user)
		c.entering++
		r.circles.set(c, contacts)
	})
}

func (r *roster) entered(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.circles.of[user]
	c.entering--
	r.circles.discard(c)
}

// renewContacts finds out the contacts of a user anew, and tells whom the
// difference concerns.
func (r *roster) renewContacts(ctx context.Context, user string) error {
	return r.askContacts(ctx, user, func(contacts []string) {
		if _, online := r.online[user]; r.circles.of[user] == nil && !online {
			return // nobody here is concerned
		}
		c := r.circles.need(user)
		r.circles.set(c, contacts)
		r.circles.discard(c)
	})
}

// hasContact reports whether owner has other as a contact; loaded is false
// when that is not known here.
func (r *roster) hasContact(owner, other string) (has, loaded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.circles.of[owner]
	if c == nil {
		return false, false
	}
	return c.contacts[other], true
}

func (cs *circles) need(user string) *circle {
	c := cs.of[user]
	if c == nil {
		c = &circle{user: user, sees: map[string]bool{}}
		cs.of[user] = c
	}
	return c
}

// set replaces the contacts of c and tells whom the difference concerns.
func (cs *circles) set(c *circle, contacts []string) {
	before := c.contacts
	c.contacts = make(map[string]bool, len(contacts))
	for _, x := range contacts {
		if x != c.user {
			c.contacts[x] = true
		}
	}
	for x := range before {
		if !c.contacts[x] {
			cs.unknow(x, c)
			cs.pair(x, c.user, nil)
			cs.pair(c.user, x, nil)
		}
	}
	for x := range c.contacts {
		if !before[x] {
			if cs.knownBy[x] == nil {
				cs.knownBy[x] = map[string]*circle{}
			}
			cs.knownBy[x][c.user] = c
			cs.pair(x, c.user, nil)
			cs.pair(c.user, x, nil)
			cs.fetch(x)
		}
	}
}

func (cs *circles) unknow(x string, c *circle) {
	if delete(cs.knownBy[x], c.user); len(cs.knownBy[x]) == 0 {
		delete(cs.knownBy, x)
	}
}

// fetch asks for the contacts of a user who is online elsewhere, if somebody
// here has him as a contact and they are not known yet. The hook is called on a
// goroutine of its own: nobody waits for it.
func (cs *circles) fetch(x string) {
	s := cs.roster.srv
	if _, online := cs.roster.online[x]; !online || cs.of[x] != nil || len(cs.knownBy[x]) == 0 {
		return
	}
	s.goRun(func() {
		if err := cs.roster.renewContacts(s.ctx, x); err != nil {
			s.log.Error("the Contacts hook failed: a user online elsewhere stays hidden", "user", x, "err", err)
		}
	})
}

// edgeNews is an edge that several circles are told of: encoded once, if any is.
type edgeNews struct {
	Edge
	frames edgeFrames
}

func (n *edgeNews) of(d *device) *engineio.Frame {
	if n.frames.plain == nil {
		n.frames = framesOf(n.Edge, (*socketio.Outgoing).Frame, (*socketio.Outgoing).Frame)
	}
	return n.frames.of(d)
}

// pair tells y's devices of x if what they believe is not so any more. e is the
// edge that brought it about, if any.
func (cs *circles) pair(x, y string, e *edgeNews) {
	cx, cy := cs.of[x], cs.of[y]
	if cy == nil {
		return
	}
	_, sees := cs.roster.online[x]
	sees = sees && cx != nil && cx.contacts[y] && cy.contacts[x]
	if sees == cy.sees[x] {
		return
	}
	if sees {
		cy.sees[x] = true
	} else {
		delete(cy.sees, x)
	}
	if len(cy.devices) == 0 {
		return
	}
	if e == nil {
		e = &edgeNews{Edge: Edge{Presence: Presence{User: x, Online: sees, LastSeen: now()}}}
	}
	for _, d := range cy.devices {
		d.conn.Send(e.of(d))
	}
}

// edge takes a user's coming or going.
func (cs *circles) edge(e Edge) {
	if e.Online {
		cs.fetch(e.User)
	}
	news := &edgeNews{Edge: e}
	for y := range cs.knownBy[e.User] {
		cs.pair(e.User, y, news)
	}
	if c := cs.of[e.User]; c != nil {
		cs.discard(c)
	}
}

// subscribe is roster.subscribe in contacts mode.
func (cs *circles) subscribe(d *device) bool {
	c := cs.of[d.ChatPath]
	var body []byte
	for x := range c.sees {
		body = appendUser(body, x, cs.roster.online[x])
	}
	body = appendUser(body, d.ChatPath, d.SocketID)
	list := socketio.NewOutgoing("online_users", nil, len(body)+3).Raw(",{").Bytes(body).Raw("}")
	if !d.conn.Open(list.Frames()...) {
		return false
	}
	c.devices = append(slices.Clip(c.devices), d)
	return true
}

func (cs *circles) unsubscribe(d *device) {
	if c := cs.of[d.ChatPath]; c != nil {
		c.devices = others(c.devices, d)
		cs.discard(c)
	}
}

// discard forgets a circle that nobody needs any more.
func (cs *circles) discard(c *circle) {
	if _, online := cs.roster.online[c.user]; online || len(c.devices) > 0 || c.entering > 0 {
		return
	}
	delete(cs.of, c.user)
	for x := range c.contacts {
		cs.unknow(x, c)
	}
}
