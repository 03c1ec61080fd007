package engineio

// Polled reports whether a poll is pending.
func (s *Socket) Polled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poll != nil
}

// Posting reports whether a POST is being read or handled.
func (s *Socket) Posting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posting
}

// Probing reports whether a WebSocket asks to take over.
func (s *Socket) Probing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probe != nil
}

// Sockets returns how many sockets the server knows.
func (s *Server) Sockets() int { return len(s.all()) }

// Opening returns how many sockets are not accepted yet, and from how many
// addresses.
func (s *Server) Opening() (sockets, addrs int) {
	s.opening.mu.Lock()
	defer s.opening.mu.Unlock()
	return s.opening.total, len(s.opening.connections)
}

// AddrKey is what an address counts as.
func AddrKey(addr string) string { return addrKey(addr) }

// Tick is how late what is due may be.
func (s *Server) Tick() int64 { return int64(s.beats.tick) }

// Started reports whether a socket that Open was told of is at work, or was.
func (s *Socket) Started() bool {
	s.srv.beats.mu.Lock()
	defer s.srv.beats.mu.Unlock()
	return s.beat.in || s.srv.beats.done
}

// Parked reports whether a poll is pending that is out of net/http.
func (s *Socket) Parked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poll != nil && s.poll.parked != nil
}

// Idle makes the next poll one that is likely to wait long.
func (s *Socket) Idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brisk = false
}
