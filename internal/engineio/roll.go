package engineio

// Roll makes frames that many sockets get one after the other. Each lies in
// memory right behind the one before: a socket for which several of them wait
// refers to all of them at once, and has copied none. Its zero value is an
// empty Roll; it is not safe for concurrent use.
type Roll struct{ chunk []byte }

// rollChunk is how many bytes of frames lie behind each other.
const rollChunk = 32 << 10

// Text makes the frame of a text message from the concatenated parts.
func (r *Roll) Text(parts ...[]byte) *Frame {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	if cap(r.chunk)-len(r.chunk) < maxHeader+n {
		r.chunk = make([]byte, 0, max(rollChunk, maxHeader+n))
	}
	begin := len(r.chunk)
	b := append(appendHeader(r.chunk, opText, n), packetMessage)
	for _, p := range parts {
		b = append(b, p...)
	}
	r.chunk = b
	return &Frame{wire: b[begin:], rolled: true}
}

// follows reports whether b lies right behind a, in the same Roll.
func follows(a, b []byte) bool {
	return cap(a) > len(a) && &a[:len(a)+1][len(a)] == &b[0]
}
