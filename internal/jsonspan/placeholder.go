package jsonspan

import (
	"bytes"
	"errors"
	"math"
)

// ErrPlaceholder is returned for JSON in which not every recipient would find
// the same binary placeholders, or one of them breaks on what it finds.
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
// A placeholder is what a recipient's parser replaces with an attachment: an
// object whose member "_placeholder" is true, whatever else it has. Keys count
// as what they decode to.
//
// The point is that nothing a sender writes can break a recipient's parser.
// Those differ: some take 1 or "true" for true, some trap on a num that is not
// an int, and of two members with the same key some keep the first and some
// the last. So whatever they might disagree about is refused, with
// [ErrPlaceholder]:
//
//   - a member "_placeholder", anywhere, that is neither true nor false;
//   - two members "_placeholder" in one object;
//   - a placeholder without num, with two of them, or with one that is not
//     written as a decimal integer from 0 to 1<<31-1 without sign, fraction
//     and exponent;
//   - a placeholder inside of another;
//   - two members with the same key in one object, if a placeholder is inside
//     of either.
//
// All of this holds for each part of b if it does for b. The error is
// [ErrDepth] when b nests more than 1000 deep. On an error dst is returned as
// it came.
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
	return w.found, nil
}

// walker looks for placeholders in b.
type walker struct {
	b     []byte
	found []Placeholder
	// carriers are the members with placeholders inside, of all objects on
	// the way from the root to here. Payloads have a few; keeping every member
	// seen would let a sender buy much memory for little.
	carriers []carrier
	scratch  []byte // for keys with escapes
}

// carrier is a member whose value, b[start:end], has a placeholder inside.
type carrier struct {
	key        []byte // decoded
	start, end int
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
		inside        = len(w.found)    // found[inside:] are inside of this object
		mine          = len(w.carriers) // carriers[mine:] are members of this object
		isPlaceholder bool
		num           int
		flags, nums   int // how many there are
	)
	for {
		raw, escaped, start, ok, err := m.next()
		if err != nil {
			return m.i, err
		}
		if !ok {
			break
		}
		before := len(w.found)
		if m.i, err = w.value(start, depth); err != nil {
			return m.i, err
		}
		switch {
		case literalEqual(raw, escaped, "_placeholder"):
			flags++
			isPlaceholder = w.b[start] == 't'
			if flags > 1 || !isPlaceholder && w.b[start] != 'f' {
				return start, ErrPlaceholder
			}
		case literalEqual(raw, escaped, "num"):
			nums++
			num = plainInt(w.b[start:m.i])
		}
		if len(w.found) > before {
			key := w.key(raw, escaped)
			if escaped {
				key = bytes.Clone(key)
			}
			w.carriers = append(w.carriers, carrier{key, start, m.i})
		}
	}
	if isPlaceholder {
		if nums != 1 || num < 0 || len(w.found) > inside {
			return i, ErrPlaceholder
		}
		w.found = append(w.found, Placeholder{i, m.i, num})
		return m.i, nil
	}
	if carriers := w.carriers[mine:]; len(carriers) > 0 {
		if err := w.distinct(i, carriers); err != nil {
			return i, err
		}
		w.carriers = w.carriers[:mine]
	}
	return m.i, nil
}

// distinct makes sure that none of the carriers, which are all those of the
// object at b[i], has a key which comes twice in it.
//
// This reads the object again, but not its carriers. So however deep they
// nest, no byte of b is read here more than once.
func (w *walker) distinct(i int, carriers []carrier) error {
	var (
		m     = members{b: w.b, i: i}
		index = newKeyIndex(carriers)
	)
	for {
		raw, escaped, start, ok, err := m.next()
		if !ok {
			return err
		}
		if same := index.find(w.key(raw, escaped)); same >= 0 && same != start {
			return ErrPlaceholder
		}
		if len(carriers) > 0 && carriers[0].start == start {
			m.i, carriers = carriers[0].end, carriers[1:]
		} else if m.i, err = Value(w.b, start, maxWalk); err != nil {
			return err
		}
	}
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

// keyIndex finds carriers by their keys.
type keyIndex struct {
	few  []carrier
	many map[string]int // so that a search among many stays linear
}

// manyCarriers is from how many carriers on a map beats looking at each.
const manyCarriers = 8

func newKeyIndex(carriers []carrier) keyIndex {
	if len(carriers) < manyCarriers {
		return keyIndex{few: carriers}
	}
	many := make(map[string]int, len(carriers))
	for _, c := range carriers {
		many[string(c.key)] = c.start
	}
	return keyIndex{many: many}
}

// find returns the start of a carrier with that key, -1 if there is none. It
// is the same one whenever the key is the same.
func (x keyIndex) find(key []byte) (start int) {
	for _, c := range x.few {
		if bytes.Equal(c.key, key) {
			return c.start
		}
	}
	if start, ok := x.many[string(key)]; ok {
		return start
	}
	return -1
}

// plainInt returns the number that a scanned value is, or -1 if it is anything
// but the digits of an integer below 1<<31.
func plainInt(value []byte) int {
	if len(value) > len("2147483647") {
		return -1
	}
	var n int64
	for _, c := range value {
		if !isDigit(c) {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	if n > math.MaxInt32 {
		return -1
	}
	return int(n)
}
