package heymanito

import (
	"context"
	"time"
)

// UserView is what a server knows of one user, as JSON for whoever has to help
// him. It has no contents of messages, no tokens and no claims.
type UserView struct {
	ChatPath string       `json:"chatPath"`
	Online   bool         `json:"online"`             // on any node
	LastSeen *time.Time   `json:"lastSeen,omitempty"` // nil: he is online, or it is not known
	Devices  []DeviceView `json:"devices"`            // on this server, the oldest first
	Inbox    *InboxView   `json:"inbox,omitempty"`    // nil [WithoutInbox]
	Calls    []CallView   `json:"calls"`              // those that ended a moment ago included
}

// DeviceView is one connected device.
type DeviceView struct {
	SocketID    string     `json:"socketId"`
	DeviceID    string     `json:"deviceId,omitempty"` // the client's word
	RemoteAddr  string     `json:"remoteAddr"`
	Transport   string     `json:"transport"` // "polling" or "websocket"
	ConnectedAt time.Time  `json:"connectedAt"`
	Expires     *time.Time `json:"expires,omitempty"`  // when its identity ends; nil: never
	QueueBytes  int        `json:"queueBytes"`         // that it has yet to take
	Features    []string   `json:"features,omitempty"` // that the client has asked for
	Stock       bool       `json:"stock"`              // the client keeps no position of its own in the inbox
	Told        *uint64    `json:"told,omitempty"`     // the seq up to which it was sent the inbox; nil [WithoutInbox]
	Proven      *uint64    `json:"proven,omitempty"`   // the seq up to which it has shown that it has it; likewise
}

// InboxView is the state of an inbox, as in [Head], and its newest entries.
type InboxView struct {
	Epoch   string      `json:"epoch"`
	Last    uint64      `json:"last"`    // seq of the newest entry
	Given   uint64      `json:"given"`   // seq up to which some device has it
	Dropped uint64      `json:"dropped"` // seq up to which entries may have been dropped
	Entries []EntryView `json:"entries"` // 100 at most, the oldest first
}

// EntryView is an [Entry] without what it carries.
type EntryView struct {
	Seq         uint64    `json:"seq"`
	Event       string    `json:"event"`        // e.g. "receiveMessage"
	Peer        string    `json:"peer"`         // the other side's chatPath
	ID          string    `json:"id,omitempty"` // of the message, as JSON
	Time        time.Time `json:"ts"`
	Bytes       int       `json:"bytes"` // that it carries, attachments included
	Attachments int       `json:"attachments,omitempty"`
}

// CallView is a [Call] of the user's.
type CallView struct {
	ID      string     `json:"callId"`
	Room    string     `json:"roomName"`
	Caller  string     `json:"callerId"`    // chatPath
	Callee  string     `json:"recipientId"` // chatPath
	State   CallState  `json:"state"`
	Reason  CallReason `json:"reason,omitempty"` // of one that has ended
	Started time.Time  `json:"started"`
}

// inspected is how many entries a view shows.
const inspected = 100

// Inspect returns what is known of a user; of one who never was here, that there is
// nothing. It asks the stores: an error is theirs, and the view has what was found
// out before it.
func (s *Server) Inspect(ctx context.Context, user string) (UserView, error) {
	v := UserView{ChatPath: user, Devices: []DeviceView{}, Calls: []CallView{}}
	known, err := s.Online(ctx, user)
	if err != nil {
		return v, err
	}
	if v.Online = known[0].Online; !known[0].LastSeen.IsZero() {
		v.LastSeen = &known[0].LastSeen
	}
	for _, d := range s.registry.devices(user) {
		v.Devices = append(v.Devices, d.view())
	}
	calls, err := s.calls.store.ByUser(ctx, user)
	if err != nil {
		return v, err
	}
	for i := range calls {
		c := &calls[i]
		v.Calls = append(v.Calls, CallView{c.ID, c.Room, c.Caller, c.Callee, c.State, c.Reason, c.Started})
	}
	if s.cfg.keep {
		v.Inbox, err = s.inboxView(ctx, user)
	}
	return v, err
}

func (d *device) view() DeviceView {
	v := DeviceView{
		SocketID: d.SocketID, DeviceID: d.DeviceID, RemoteAddr: d.RemoteAddr, ConnectedAt: d.ConnectedAt,
		Transport: d.conn.Transport(), QueueBytes: d.conn.Queued(), Stock: d.since == nil,
	}
	if p := d.proof.Load(); p != nil && !p.ends.IsZero() {
		v.Expires = &p.ends
	}
	if d.acks {
		v.Features = append(v.Features, featureAcks)
	}
	if d.lastSeen {
		v.Features = append(v.Features, featureLastSeen)
	}
	if f := d.feed; f != nil {
		f.mu.Lock()
		told, proven := f.pos, f.proven
		f.mu.Unlock()
		v.Told, v.Proven = &told, &proven
	}
	return v
}

func (s *Server) inboxView(ctx context.Context, user string) (*InboxView, error) {
	head, err := s.inbox.Since(ctx, user, 0, 0)
	if err != nil {
		return nil, err
	}
	v := &InboxView{Epoch: head.Epoch, Last: head.Last, Given: head.Given, Dropped: head.Dropped, Entries: []EntryView{}}
	for after := max(head.Last, inspected) - inspected; after < head.Last && len(v.Entries) < inspected; {
		page, err := s.inbox.Since(ctx, user, after, inspected-len(v.Entries))
		if err != nil || len(page.Entries) == 0 {
			return v, err
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			bytes := len(e.Body)
			for _, a := range e.Attachments {
				bytes += len(a)
			}
			v.Entries = append(v.Entries, EntryView{e.Seq, e.Event, e.Peer, e.ID, e.Time, bytes, len(e.Attachments)})
			after = e.Seq
		}
	}
	return v, nil
}
