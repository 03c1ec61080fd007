package jsonspan

import "math"

// Object scans the JSON object that starts at b[i] and returns the index just
// after it. Each member's value may nest maxDepth deep, as in [Value].
//
// It stores in out[k] the span of the value of the key keys[k], without a copy;
// nil when the object has no such key, the last one when it has several, as
// JSON.parse does. Keys written with escapes match what they decode to:
// "\u0069d" is "id". Keys beyond len(out) are not looked for. After an error
// all of out is nil: what precedes the error is not to be trusted either.
func Object(b []byte, i, maxDepth int, keys []string, out [][]byte) (end int, err error) {
	keys = keys[:min(len(keys), len(out))]
	out = out[:len(keys)]
	clear(out)
	m := members{b: b, i: i}
	for {
		key, escaped, value, ok, err := m.next()
		if !ok {
			if err != nil {
				clear(out)
			}
			return m.i, err
		}
		if m.i, err = Value(b, value, maxDepth); err != nil {
			clear(out)
			return m.i, err
		}
		for k, want := range keys {
			if literalEqual(key, escaped, want) {
				// The capacity is cut so that an append to the span cannot
				// write over what follows it.
				out[k] = b[value:m.i:m.i]
			}
		}
	}
}

// Repeats reports whether the object that starts at b[i], which Object has
// found in order, has one of keys, at most 64, more than once.
func Repeats(b []byte, i int, keys []string) bool {
	m := members{b: b, i: i}
	var seen uint64 // bit k: keys[k]
	for {
		key, escaped, value, ok, err := m.next()
		if !ok || err != nil {
			return false
		}
		if m.i, err = Value(b, value, math.MaxInt); err != nil {
			return false
		}
		for k, want := range keys {
			if literalEqual(key, escaped, want) {
				if seen&(1<<k) != 0 {
					return true
				}
				seen |= 1 << k
			}
		}
	}
}

// members goes over the members of the object that starts at b[i].
type members struct {
	b      []byte
	i      int
	inside bool // past the opening brace
}

// next reads the next member up to its value. The caller scans that and sets
// m.i to the index just after it. ok is false after the last member, when m.i
// is just after the object, and on an error, when m.i is where that is.
func (m *members) next() (key []byte, escaped bool, value int, ok bool, err error) {
	b, i := m.b, m.i
	if !m.inside {
		if at(b, i) != '{' {
			m.i = clamp(b, i)
			return nil, false, 0, false, ErrSyntax
		}
		m.inside = true
		i = Space(b, i+1)
		if at(b, i) == '}' {
			m.i = i + 1
			return nil, false, 0, false, nil
		}
	} else {
		i = Space(b, i)
		switch at(b, i) {
		case '}':
			m.i = i + 1
			return nil, false, 0, false, nil
		case ',':
			i = Space(b, i+1)
		default:
			m.i = i
			return nil, false, 0, false, ErrSyntax
		}
	}
	end, escaped, value, err := scanKey(b, i)
	if err != nil {
		m.i = value
		return nil, false, 0, false, err
	}
	return b[i:end:end], escaped, value, true, nil
}
