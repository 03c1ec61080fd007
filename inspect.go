package heymanito

import (
	"context"
	"time"
)

// UserView is what a server knows of one user, as JSON for whoever has to help
// him. It has no contents of messages, no tokens and no claims.
type UserView struct {
	ChatPath string       `json:"chatPath"`
	Online   bool         `json:"online"` // on any node
	LastSeen *time.Time   `json:"lastSeen,omitempty"`
	Devices  []DeviceView `json:"devices"` // on this server, the oldest first
	Inbox    *InboxView   `json:"inbox,omitempty"`
	Calls    []CallView   `json:"calls"` // those that ended a moment ago included
}

// DeviceView is one connected device.
type DeviceView struct {
	SocketID    string     `json:"socketId"`
	DeviceID    string     `json:"deviceId,omitempty"`
	RemoteAddr  string     `json:"remoteAddr"`
	Transport   string     `json:"transport"`
	ConnectedAt time.Time  `json:"connectedAt"`
	Expires     *time.Time `json:"expires,omitempty"` // when its identity ends
	QueueBytes  int        `json:"queueBytes"`        // that it has yet to take
	Features    []string   `json:"features,omitempty"`
	Stock       bool       `json:"stock"`            // it keeps no position of its own
	Told        *uint64    `json:"told,omitempty"`   // up to here of the inbox
	Proven      *uint64    `json:"proven,omitempty"` // up to here it has shown that it has it
}

// InboxView is the state of an inbox, and its newest entries.
type InboxView struct {
	Epoch   string      `json:"epoch"`
	Last    uint64      `json:"last"`
	Given   uint64      `json:"given"`
	Dropped uint64      `json:"dropped"`
	Entries []EntryView `json:"entries"` // 100 at most, the oldest first
}

// EntryView is an entry without what it carries.
type EntryView struct {
	Seq         uint64    `json:"seq"`
	Event       string    `json:"event"`
	Peer        string    `json:"peer"`
	ID          string    `json:"id,omitempty"` // as JSON
	Time        time.Time `json:"ts"`
	Bytes       int       `json:"bytes"`
	Attachments int       `json:"attachments,omitempty"`
}

// CallView is a call of the user's.
type CallView struct {
	ID      string     `json:"callId"`
	Room    string     `json:"roomName"`
	Caller  string     `json:"callerId"`
	Callee  string     `json:"recipientId"`
	State   CallState  `json:"state"`
	Reason  CallReason `json:"reason,omitempty"`
	Started time.Time  `json:"started"`
}

// inspected is how many entries a view shows.
const inspected = 100

// Inspect returns what is known of a user. Errors are the stores'.
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
