package heymanito

import "encoding/json"

// position is what a client has of its inbox, auth.since.
type position struct {
	epoch string // empty: nothing
	seq   uint64
}

// maxEpochBytes is how long an epoch may be, see [Head].
const maxEpochBytes = 64

// parsePosition reads auth.since: {} or {epoch, seq}.
func parsePosition(raw json.RawMessage) (*position, *Error) {
	if absent(raw) {
		return nil, nil
	}
	var p struct {
		Epoch *string `json:"epoch"`
		Seq   *uint64 `json:"seq"`
	}
	err := json.Unmarshal(raw, &p)
	switch {
	case err == nil && p.Epoch == nil && p.Seq == nil:
		return &position{}, nil
	case err == nil && p.Epoch != nil && *p.Epoch != "" && len(*p.Epoch) <= maxEpochBytes && p.Seq != nil:
		return &position{epoch: *p.Epoch, seq: *p.Seq}, nil
	}
	return nil, Errorf(CodeInvalid, `auth: since must be {} or {"epoch": a string, "seq": a whole number}, as inboxReady has them`)
}
