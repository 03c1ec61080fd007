package livekit

import "sync"

// maxSeen is how many ids of webhooks are remembered. LiveKit gives up on a
// webhook long before as many others have come.
const maxSeen = 10_000

// seen is the ids of the last webhooks that were taken.
type seen struct {
	mu   sync.Mutex // guards the rest
	ids  map[string]bool
	ring []string // the ids, in the order of their coming from next on
	next int
}

func (s *seen) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

// add remembers id; an empty one, which old servers send, is none.
func (s *seen) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" || s.ids[id] {
		return
	}
	if s.ids == nil {
		s.ids = map[string]bool{}
	}
	if len(s.ring) < maxSeen {
		s.ring = append(s.ring, id)
	} else {
		delete(s.ids, s.ring[s.next])
		s.ring[s.next] = id
		s.next = (s.next + 1) % maxSeen
	}
	s.ids[id] = true
}
