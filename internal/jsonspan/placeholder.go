package jsonspan

import (
	"bytes"
	"errors"
	"math"
)

// ErrPlaceholder is returned for a binary placeholder whose num is not a plain
// non-negative integer, or which holds another placeholder.
var ErrPlaceholder = errors.New("jsonspan: malformed binary placeholder")

// Placeholder is a Socket.IO binary placeholder, {"_placeholder":true,"num":0},
// which stands for the attachment number Num. It is the bytes Start to End of
// the JSON it was found in.
type Placeholder struct{ Start, End, Num int }

// maxWalk is how deep Placeholders follows nested values; it recurses.
const maxWalk = 1000

// Placeholders appends to dst the placeholders inside the JSON value b, in the
// order in which they appear. b has been scanned before, so it is valid; if not
// the result is some error, or none.
//
// A placeholder is what socket.io-parser replaces with an attachment: an
// object whose member "_placeholder" is true, whatever else it has. Keys count
// as what they decode to, and of members with equal keys only the last exists,
// as in JSON.parse: placeholders inside of the earlier ones are not reported.
//
// The error is [ErrPlaceholder] when a placeholder has no num, or one that is
// not written as a decimal integer from 0 to 1<<31-1 without sign, fraction and
// exponent, or when it holds another placeholder; [ErrDepth] when b nests more
// than 1000 deep. On an error dst is returned as it came.
func Placeholders(dst []Placeholder, b []byte) ([]Placeholder, error) {
	// No key decodes to _placeholder unless it is written out, or has an
	// escape that decodes to ASCII.
	if !bytes.Contains(b, []byte(`_placeholder"`)) && !bytes.Contains(b, []byte(`\u00`)) {
		return dst, nil
	}
	w := walker{b: b, found: dst}
	end, err := w.value(Space(b, 0), 0)
	if err == nil && Space(b, end) != len(b) {
		err = ErrSyntax
	}
	if err != nil {
		return dst, err
	}
	// Only now is it known which of the found exist.
	live := w.found[:len(dst)]
	for _, p := range w.found[len(dst):] {
		switch p.Num {
		case shadowed:
		case malformed:
			return dst, ErrPlaceholder
		default:
			live = append(live, p)
		}
	}
	return live, nil
}

// What Placeholder.Num can be instead of a number, while a walk lasts.
const (
	malformed = -1 // an ErrPlaceholder, if it exists
	shadowed  = -2 // a later member with the same key replaces this one
)

// walker looks for placeholders in b.
type walker struct {
	b     []byte
	found []Placeholder
	// carriers are the members with placeholders inside, of all objects on
	// the way from the root to here: those, and only those, it matters to find
	// again when their key comes a second time. Payloads have a few; keeping
	// every key seen would let a sender buy much work for little.
	carriers []carrier
	scratch  []byte // for keys with escapes
}

// carrier is a member whose value holds found[from:to].
type carrier struct {
	key      []byte // decoded
	from, to int
}

// value walks the value at b[i], inside of depth others, and returns the index
// just after it.
func (w *walker) value(i, depth int) (end int, err error) {
	switch at(w.b, i) {
	case '{':
		if depth < maxWalk {
			return w.object(i, depth+1)
		}
	case '[':
		if depth < maxWalk {
			return w.array(i, depth+1)
		}
	}
	return Value(w.b, i, 0)
}

func (w *walker) array(i, depth int) (end int, err error) {
	a := Array{b: w.b, i: i}
	for {
		start, ok := a.next()
		if !ok {
			return a.i, a.err
		}
		if a.i, err = w.value(start, depth); err != nil {
			return a.i, err
		}
	}
}

func (w *walker) object(i, depth int) (end int, err error) {
	var (
		m             = members{b: w.b, i: i}
		mine          = siblings{first: len(w.carriers)}
		inside        = len(w.found) // found[inside:] are inside of this object
		isPlaceholder bool
		num           = malformed
	)
	for {
		raw, escaped, start, ok, err := m.next()
		if err != nil {
			return m.i, err
		}
		if !ok {
			break
		}
		key := w.key(raw, escaped)
		earlier := mine.find(w.carriers, key)
		if earlier >= 0 {
			c := &w.carriers[earlier]
			for k := c.from; k < c.to; k++ {
				w.found[k].Num = shadowed
			}
			c.from = c.to // once is enough, however often the key comes
		}
		flag, number := string(key) == "_placeholder", string(key) == "num"

		before := len(w.found)
		if m.i, err = w.value(start, depth); err != nil {
			return m.i, err
		}

		if flag {
			isPlaceholder = w.b[start] == 't'
		}
		if number {
			num = plainInt(w.b[start:m.i])
		}
		if len(w.found) == before {
			continue
		}
		if earlier >= 0 {
			w.carriers[earlier].from, w.carriers[earlier].to = before, len(w.found)
			continue
		}
		key = w.key(raw, escaped) // once more: the walk below may have used the scratch
		if escaped {
			key = bytes.Clone(key)
		}
		w.carriers = append(w.carriers, carrier{key, before, len(w.found)})
		mine.added(w.carriers)
	}
	w.carriers = w.carriers[:mine.first]
	if isPlaceholder {
		for _, p := range w.found[inside:] {
			if p.Num != shadowed {
				num = malformed // one inside of another
			}
		}
		w.found = append(w.found[:inside], Placeholder{i, m.i, num})
	}
	return m.i, nil
}

// key returns what a key decodes to, until the next call.
func (w *walker) key(raw []byte, escaped bool) []byte {
	literal := raw[1 : len(raw)-1]
	if !escaped {
		return literal
	}
	w.scratch, _ = appendUnescaped(w.scratch[:0], literal)
	return w.scratch
}

// siblings finds the carriers of one object, carriers[first:], by their keys.
type siblings struct {
	first int
	index map[string]int // only once there are many, so that search stays linear
}

// manySiblings is from how many carriers on a map beats looking at each.
const manySiblings = 8

// find returns the index of the carrier with that key, -1 if there is none.
func (s *siblings) find(carriers []carrier, key []byte) int {
	if s.index != nil {
		if k, ok := s.index[string(key)]; ok {
			return k
		}
		return -1
	}
	for k := s.first; k < len(carriers); k++ {
		if bytes.Equal(carriers[k].key, key) {
			return k
		}
	}
	return -1
}

// added takes note of the last carrier.
func (s *siblings) added(carriers []carrier) {
	switch n := len(carriers) - s.first; {
	case s.index != nil:
		s.index[string(carriers[len(carriers)-1].key)] = len(carriers) - 1
	case n >= manySiblings:
		s.index = make(map[string]int, 2*n)
		for k := s.first; k < len(carriers); k++ {
			s.index[string(carriers[k].key)] = k
		}
	}
}

// plainInt returns the number that a scanned value is, or malformed if it is
// anything but the digits of an integer below 1<<31.
func plainInt(value []byte) int {
	if len(value) > len("2147483647") {
		return malformed
	}
	var n int64
	for _, c := range value {
		if !isDigit(c) {
			return malformed
		}
		n = n*10 + int64(c-'0')
	}
	if n > math.MaxInt32 {
		return malformed
	}
	return int(n)
}
