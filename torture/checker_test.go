package torture

import (
	"slices"
	"testing"
)

// tale is a history that is told line by line.
type tale struct {
	history
	clock uint64
}

func (t *tale) device(name, user string, since, acks, audit bool) *log {
	l := &log{user: user, device: name, since: since, acks: acks, audit: audit, settled: true}
	t.devices = append(t.devices, l)
	return l
}

// add adds what a device has said or heard to its newest connection, or a new one.
func (t *tale) add(l *log, records ...record) {
	for _, r := range records {
		t.clock++
		r.at = t.clock
		if n := len(l.records); n > 0 {
			r.conn = l.records[n-1].conn
		}
		if r.what == opened {
			r.conn++
		}
		l.records = append(l.records, r)
	}
}

func hears(event, from, to, id string, seq uint64) record {
	r := record{what: arrived, event: event, from: from, to: to, id: id, seq: seq, ts: 1000}
	if event == receiveMessage || event == messageSent {
		r.body = digest{1}
	}
	return r
}

func says(event, from, to, id string, call int) record {
	r := record{what: emitted, event: event, from: from, to: to, id: id, call: call}
	if event == sendMessage {
		r.body = digest{1}
	}
	return r
}

// acked is the ack of what says has said.
func acked(event, from, to, id string, call int, seq uint64) record {
	r := says(event, from, to, id, call)
	r.what, r.seq = answered, seq
	if event == sendMessage {
		r.ts, r.delivery = 1000, "sent"
	}
	return r
}

func again(r record) record {
	r.duplicate = true
	return r
}

// goodTale is about ana, a stock client, who writes to luis, who has a client
// with since, and to eva, who has one that calls back.
func goodTale() *tale {
	t := &tale{}
	listed := record{what: arrived, event: onlineUsers}
	begins := func(epoch string, seq uint64) record { return record{what: opened, epoch: epoch, seq: seq} }
	isReady := func(seq uint64) record { return record{what: ready, epoch: "e", seq: seq, complete: true} }
	ana := t.device("ana.0", "ana", false, false, false)
	luis := t.device("luis.0", "luis", true, false, false)
	eva := t.device("eva.0", "eva", false, true, false)
	for _, l := range []*log{ana, luis, eva} {
		t.add(l, begins("", 0), listed, isReady(0))
	}
	t.add(ana, says(sendMessage, "ana", "luis", "1", 1), says(sendMessage, "ana", "luis", "2", 2),
		acked(sendMessage, "ana", "luis", "1", 1, 1), acked(sendMessage, "ana", "luis", "2", 2, 2))
	t.add(luis, hears(receiveMessage, "ana", "luis", "1", 1), hears(receiveMessage, "ana", "luis", "2", 2))
	t.add(ana, hears(messagesDelivered, "ana", "luis", "2", 3),
		says(sendMessage, "ana", "eva", `"1"`, 3), acked(sendMessage, "ana", "eva", `"1"`, 3, 4))
	t.add(eva, hears(receiveMessage, "ana", "eva", `"1"`, 1), record{what: called, event: receiveMessage, from: "ana", to: "eva", id: `"1"`, seq: 1})
	t.add(ana, hears(messagesDelivered, "ana", "eva", `"1"`, 5))
	t.add(luis, says(markAsRead, "ana", "luis", "2", 1), acked(markAsRead, "ana", "luis", "2", 1, 3),
		says(sendMessage, "luis", "luis", "7", 2), acked(sendMessage, "luis", "luis", "7", 2, 4), record{what: closed})
	t.add(ana, hears(messagesRead, "ana", "luis", "2", 6), record{what: closed})
	t.add(ana, begins("", 0), listed, isReady(6),
		says(sendMessage, "ana", "luis", "1", 1), again(acked(sendMessage, "ana", "luis", "1", 1, 1)))
	t.add(luis, begins("e", 4), listed, isReady(4))
	t.add(t.device("ana.x", "ana", true, false, true), begins("", 0), listed,
		hears(messageSent, "ana", "luis", "1", 1), hears(messageSent, "ana", "luis", "2", 2), hears(messagesDelivered, "ana", "luis", "2", 3),
		hears(messageSent, "ana", "eva", `"1"`, 4), hears(messagesDelivered, "ana", "eva", `"1"`, 5), hears(messagesRead, "ana", "luis", "2", 6), isReady(6))
	t.add(t.device("luis.x", "luis", true, false, true), begins("", 0), listed,
		hears(receiveMessage, "ana", "luis", "1", 1), hears(receiveMessage, "ana", "luis", "2", 2),
		hears(conversationRead, "ana", "luis", "2", 3), hears(receiveMessage, "luis", "luis", "7", 4), isReady(4))
	t.add(t.device("eva.x", "eva", true, false, true), begins("", 0), listed, hears(receiveMessage, "ana", "eva", `"1"`, 1), isReady(1))
	return t
}

func (t *tale) log(device string) *log {
	return t.devices[slices.IndexFunc(t.devices, func(l *log) bool { return l.device == device })]
}

// find is the first record of a device that is like this.
func (t *tale) find(device string, w what, event string, seq uint64) *record {
	l := t.log(device)
	for i := range l.records {
		if r := &l.records[i]; r.what == w && r.event == event && r.seq == seq {
			return r
		}
	}
	panic("no such record")
}

func (t *tale) remove(device string, w what, event string, seq uint64) {
	l, r := t.log(device), t.find(device, w, event, seq)
	i := slices.IndexFunc(l.records, func(o record) bool { return o.at == r.at })
	l.records = slices.Delete(l.records, i, i+1)
}

// last removes the newest entry of a user, which all of these devices were told of.
func (t *tale) last(event string, seq uint64, auditor string, devices ...string) {
	for _, d := range append(devices, auditor) {
		t.remove(d, arrived, event, seq)
	}
	for _, l := range t.devices {
		if l.device != auditor && !slices.Contains(devices, l.device) {
			continue
		}
		for i := range l.records {
			if r := &l.records[i]; r.what == ready && r.seq == seq {
				r.seq--
			}
		}
	}
}

func TestGoodTale(t *testing.T) {
	report(t, check(&goodTale().history))
}

// Every rule finds what breaks it.
func TestBrokenTales(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(*tale)
		rule rule
	}{
		{"a device does not come to rest", func(t *tale) { t.devices[0].settled = false }, ruleSettled},
		{"an inbox that nobody has looked into", func(t *tale) { t.devices = t.devices[:5] }, ruleSettled},
		{"an ack is missing", func(t *tale) { t.remove("ana.0", answered, sendMessage, 1) }, ruleAck},
		{"the last ack is missing", func(t *tale) { l := t.log("ana.0"); l.records = l.records[:len(l.records)-1] }, ruleAck},
		{"an ack comes twice", func(t *tale) { t.add(t.log("ana.0"), again(acked(sendMessage, "ana", "luis", "1", 1, 1))) }, ruleAck},
		{"acks change places", func(t *tale) {
			a, b := t.find("ana.0", answered, sendMessage, 1), t.find("ana.0", answered, sendMessage, 2)
			a.call, b.call = b.call, a.call
		}, ruleAck},
		{"a message is refused", func(t *tale) { t.find("ana.0", answered, sendMessage, 1).code = "invalid" }, ruleError},
		{"a message is not possible, though nothing has happened", func(t *tale) { t.find("ana.0", answered, sendMessage, 1).code = "unavailable" }, ruleError},
		{"a duplicate has another ts", func(t *tale) { r := t.log("ana.0").records; r[len(r)-1].ts++ }, ruleDuplicate},
		{"a duplicate has another seq", func(t *tale) { r := t.log("ana.0").records; r[len(r)-1].seq++ }, ruleDuplicate},
		{"a duplicate has another delivery", func(t *tale) { r := t.log("ana.0").records; r[len(r)-1].delivery = "queued" }, ruleDuplicate},
		{"a duplicate of nothing", func(t *tale) { t.find("ana.0", answered, sendMessage, 2).duplicate = true }, ruleDuplicate},
		{"acked and not in the recipient's inbox", func(t *tale) { t.last(receiveMessage, 1, "eva.x", "eva.0") }, ruleStored},
		{"acked and not in the sender's inbox", func(t *tale) { t.find("ana.x", arrived, messageSent, 4).id = "other" }, ruleStored},
		{"acked without a seq", func(t *tale) { t.find("ana.0", answered, sendMessage, 1).seq = 0 }, ruleStored},
		{"acked as another entry", func(t *tale) { t.find("ana.0", answered, sendMessage, 2).seq = 9 }, ruleStored},
		{"told and not in the inbox", func(t *tale) { t.add(t.log("eva.0"), hears(receiveMessage, "ana", "eva", `"1"`, 2)) }, ruleStored},
		{"acked offline", func(t *tale) { t.find("ana.0", answered, sendMessage, 2).delivery = "offline" }, ruleStored},
		{"twice new", func(t *tale) { r := t.log("ana.0").records; r[len(r)-1].duplicate = false }, ruleOnce},
		{"twice in the inbox", func(t *tale) { t.add(t.log("eva.x"), hears(receiveMessage, "ana", "eva", `"1"`, 2)) }, ruleOnce},
		{"a message from nowhere", func(t *tale) { t.add(t.log("eva.x"), hears(receiveMessage, "ana", "eva", "1", 2)) }, ruleSent},
		{"a message before it was sent", func(t *tale) { t.find("eva.0", arrived, receiveMessage, 1).at = 1 }, ruleSent},
		{"other content", func(t *tale) { t.find("eva.0", arrived, receiveMessage, 1).body = digest{2} }, ruleContent},
		{"other content in the inbox as well", func(t *tale) {
			t.find("eva.0", arrived, receiveMessage, 1).body = digest{2}
			t.find("eva.x", arrived, receiveMessage, 1).body = digest{2}
		}, ruleContent},
		{"the content of the second", func(t *tale) {
			r := t.log("ana.0").records
			r[len(r)-2].body = digest{2}
			for _, d := range []string{"luis.0", "luis.x"} {
				t.find(d, arrived, receiveMessage, 1).body = digest{2}
			}
		}, ruleContent},
		{"another ts", func(t *tale) { t.find("luis.0", arrived, receiveMessage, 1).ts++ }, ruleContent},
		{"another ts for the recipient than in the ack", func(t *tale) {
			t.find("eva.0", arrived, receiveMessage, 1).ts++
			t.find("eva.x", arrived, receiveMessage, 1).ts++
		}, ruleContent},
		{"an entry is missing", func(t *tale) { t.remove("luis.0", arrived, receiveMessage, 1) }, ruleSeq},
		{"an entry comes twice", func(t *tale) { t.find("luis.0", arrived, receiveMessage, 2).seq = 1 }, ruleSeq},
		{"an event has no seq", func(t *tale) { t.add(t.log("luis.0"), hears(receiveMessage, "ana", "luis", "2", 0)) }, ruleSeq},
		{"an ack is ahead", func(t *tale) { t.remove("ana.0", arrived, messagesDelivered, 3) }, ruleSeq},
		{"an ack is behind", func(t *tale) { t.find("luis.0", answered, sendMessage, 4).seq = 3 }, ruleSeq},
		{"a duplicate is ahead", func(t *tale) { t.find("luis.0", answered, sendMessage, 4).duplicate = true }, ruleSeq},
		{"the auditor misses one", func(t *tale) { t.remove("ana.x", arrived, messageSent, 2) }, ruleSeq},
		{"inboxReady comes twice", func(t *tale) { t.add(t.log("eva.0"), record{what: ready, seq: 1, epoch: "e", complete: true}) }, ruleReplay},
		{"inboxReady comes too early", func(t *tale) { t.find("luis.x", ready, "", 4).seq = 3 }, ruleReplay},
		{"inboxReady does not come", func(t *tale) { t.remove("luis.x", ready, "", 4) }, ruleReplay},
		{"no online_users", func(t *tale) { t.remove("luis.x", arrived, onlineUsers, 0) }, ruleReplay},
		{"another epoch", func(t *tale) { t.find("luis.x", ready, "", 4).epoch = "f" }, ruleEpoch},
		{"not complete", func(t *tale) { t.find("luis.x", ready, "", 4).complete = false }, ruleEpoch},
		{"two messages change places", func(t *tale) {
			for _, d := range []string{"luis.0", "luis.x"} {
				a, b := t.find(d, arrived, receiveMessage, 1), t.find(d, arrived, receiveMessage, 2)
				a.id, b.id = b.id, a.id
			}
		}, ruleOrder},
		{"what was sent after an ack is in front of what was acked", func(t *tale) {
			r := t.find("ana.0", answered, sendMessage, 1)
			i := slices.IndexFunc(t.log("ana.0").records, func(o record) bool { return o.at == r.at })
			l := t.log("ana.0")
			l.records[i-1], l.records[i] = l.records[i], l.records[i-1]
			l.records[i-1].at, l.records[i].at = l.records[i].at, l.records[i-1].at
			for i := range l.records[:i+1] {
				l.records[i].conn = i // each in a connection of its own
			}
			for _, d := range []string{"luis.0", "luis.x"} {
				a, b := t.find(d, arrived, receiveMessage, 1), t.find(d, arrived, receiveMessage, 2)
				a.id, b.id = b.id, a.id
			}
		}, ruleOrder},
		{"a hole between two messages", func(t *tale) {
			t.remove("ana.0", answered, sendMessage, 1)
			for _, d := range []string{"luis.0", "luis.x"} {
				t.find(d, arrived, receiveMessage, 1).id = "9"
			}
			t.find("ana.x", arrived, messageSent, 1).id = "9"
		}, ruleOrder},
		{"a client with since is told again", func(t *tale) {
			r := t.log("luis.0").records
			r[len(r)-3].seq = 1
			t.add(t.log("luis.0"), hears(receiveMessage, "ana", "luis", "2", 2))
		}, ruleExactly},
		{"a client with since is never told", func(t *tale) {
			t.remove("luis.0", answered, markAsRead, 3)
			t.remove("luis.0", answered, sendMessage, 4)
		}, ruleExactly},
		{"a stock user is never told", func(t *tale) { t.remove("ana.0", arrived, messagesRead, 6) }, ruleAtLeast},
		{"a stock client never calls back", func(t *tale) { t.remove("eva.0", called, receiveMessage, 1) }, ruleAtLeast},
		{"delivered too early", func(t *tale) {
			t.find("ana.0", arrived, messagesDelivered, 3).at = t.find("luis.0", arrived, receiveMessage, 2).at - 1
		}, ruleTrue},
		{"delivered before the callback", func(t *tale) {
			t.find("ana.0", arrived, messagesDelivered, 5).at = t.find("eva.0", called, receiveMessage, 1).at - 1
		}, ruleTrue},
		{"delivered, and nobody knows what", func(t *tale) { t.find("ana.x", arrived, messagesDelivered, 5).id = "9" }, ruleTrue},
		{"read too early", func(t *tale) {
			t.find("ana.0", arrived, messagesRead, 6).at = t.find("luis.0", emitted, markAsRead, 0).at - 1
		}, ruleTrue},
		{"read, and only delivered was said", func(t *tale) { t.find("luis.0", emitted, markAsRead, 0).event = markAsDelivered }, ruleTrue},
		{"delivered to nobody", func(t *tale) { t.find("ana.x", arrived, messagesDelivered, 5).to = "nobody" }, ruleTrue},
		{"a conversation is read too early", func(t *tale) { t.find("luis.x", arrived, conversationRead, 3).at = 1 }, ruleTrue},
		{"a receipt for what never was is ok", func(t *tale) {
			r := says(markAsRead, "ana", "luis", "9", 1)
			r.stranger = true
			t.add(t.log("luis.0"), r, acked(markAsRead, "ana", "luis", "9", 1, 0))
		}, ruleTrue},
		{"delivered goes back", func(t *tale) { t.add(t.log("ana.x"), hears(messagesDelivered, "ana", "luis", "1", 7)) }, ruleForward},
		{"delivered after read", func(t *tale) { t.add(t.log("ana.x"), hears(messagesDelivered, "ana", "luis", "2", 7)) }, ruleForward},
		{"read twice", func(t *tale) { t.add(t.log("ana.x"), hears(messagesRead, "ana", "luis", "2", 7)) }, ruleForward},
		{"a conversation is read twice", func(t *tale) { t.add(t.log("luis.x"), hears(conversationRead, "ana", "luis", "2", 5)) }, ruleForward},
		{"read never comes", func(t *tale) { t.last(messagesRead, 6, "ana.x", "ana.0") }, ruleTick},
		{"delivered never comes", func(t *tale) {
			t.last(messagesRead, 6, "ana.x", "ana.0")
			t.last(messagesDelivered, 5, "ana.x", "ana.0")
			t.remove("luis.0", answered, markAsRead, 3) // read is not due
		}, ruleTick},
		{"an event that nobody knows", func(t *tale) { t.find("luis.0", arrived, receiveMessage, 1).event = "message" }, ruleUnexpected},
		{"a message to somebody else", func(t *tale) { t.find("luis.0", arrived, receiveMessage, 1).to = "eva" }, ruleUnexpected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			story := goodTale()
			tt.tell(story)
			found := check(&story.history)
			if !slices.ContainsFunc(found, func(v violation) bool { return v.rule == tt.rule }) {
				t.Errorf("nobody has seen that %q is broken; found was %v", tt.rule, found)
			}
		})
	}
}
