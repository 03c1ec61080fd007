// Package jsonspan reads untrusted JSON as spans of bytes: it validates
// strictly and finds where values begin and end, but decodes and copies
// nothing, so that a payload travels on byte for byte (key order, big numbers,
// lone surrogate escapes and all).
//
// The grammar is RFC 8259's, as encoding/json.Valid has it, with two
// differences: strings must be valid UTF-8, and the caller says how deep values
// may nest. Unpaired surrogate escapes ("\ud800") are valid JSON and pass;
// only [Text] and [TextEqual], which decode, refuse them.
//
// Nothing here panics, whatever the bytes and the index. Where a function
// returns an end and an error, end is the offset at which reading stopped: the
// first byte that cannot be part of the value, or len(b) if it is cut short.
package jsonspan

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"unicode/utf8"
)

// The errors of this package. They are returned as they are, without an offset
// wrapped in: whoever sends garbage should not make the server allocate.
var (
	// ErrSyntax is returned for bytes that are not JSON, or not the kind of
	// value asked for, and for an index outside of the slice.
	ErrSyntax = errors.New("jsonspan: invalid JSON")
	// ErrDepth is returned, at once, for a value that nests too deep.
	ErrDepth = errors.New("jsonspan: JSON nested too deep")
	// ErrUTF8 is returned for a string that is not valid UTF-8.
	ErrUTF8 = errors.New("jsonspan: invalid UTF-8 in a JSON string")
)

// Value scans the JSON value that starts at b[i] (no leading white space) and
// returns the index just after it. What follows the value is not looked at.
//
// The value may nest maxDepth arrays and objects deep: a scalar is depth 0, []
// is 1, [[]] is 2. A negative maxDepth counts as 0. Beyond 512 levels it takes
// one bit of heap a level; up to there, none.
func Value(b []byte, i, maxDepth int) (end int, err error) {
	if uint(i) >= uint(len(b)) {
		return clamp(b, i), ErrSyntax
	}
	switch b[i] {
	case '"':
		end, _, err = scanString(b, i)
		return end, err
	case '{', '[':
		return scanNested(b, i, maxDepth)
	}
	return scanScalar(b, i)
}

// Space returns the index of the first byte of b[i:] that is not JSON white
// space; len(b) if there is none. An i outside of b is returned as it is, for
// the scan that follows to refuse.
func Space(b []byte, i int) int {
	for uint(i) < uint(len(b)) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool {
	return c <= ' ' && uint64(1)<<c&(1<<' '|1<<'\t'|1<<'\n'|1<<'\r') != 0
}

// at returns b[i], or 0, which is nowhere valid outside of a value, beyond the
// end of b.
func at(b []byte, i int) byte {
	if uint(i) < uint(len(b)) {
		return b[i]
	}
	return 0
}

// clamp returns the offset to report for an i that is outside of b.
func clamp(b []byte, i int) int {
	return max(0, min(i, len(b)))
}

// outerWords is how many words scanNested has for the levels around the
// innermost 64.
const outerWords = 7

// scanNested scans the array or object at b[i]. It is a loop, not a recursion,
// so that no maxDepth lets a sender exhaust the stack: one bit a level is all
// it keeps, whether that level is an object or an array.
func scanNested(b []byte, i, maxDepth int) (end int, err error) {
	var (
		depth int
		kinds uint64 // of the innermost levels, the innermost in bit 0; 1 is an object
		words [outerWords]uint64
		outer = words[:0] // the kinds of each full 64 levels around those
	)
	for {
		// b[i] is where a value starts.
		switch c := at(b, i); c {
		case '"':
			if i, _, err = scanString(b, i); err != nil {
				return i, err
			}
		case '{', '[':
			if depth >= maxDepth {
				return i, ErrDepth
			}
			i = Space(b, i+1)
			if at(b, i) == c+2 { // ']' is '['+2 and '}' is '{'+2
				i++
				break
			}
			if depth > 0 && depth&63 == 0 {
				outer = append(outer, kinds)
			}
			depth++
			kinds <<= 1
			if c == '{' {
				kinds |= 1
				if _, _, i, err = scanKey(b, i); err != nil {
					return i, err
				}
			}
			continue
		default:
			if i, err = scanScalar(b, i); err != nil {
				return i, err
			}
		}

		// b[i] is just after a value: close what it ends, go on to the next.
		for {
			if depth == 0 {
				return i, nil
			}
			i = Space(b, i)
			c := at(b, i)
			if c == ',' {
				i = Space(b, i+1)
				if kinds&1 != 0 {
					if _, _, i, err = scanKey(b, i); err != nil {
						return i, err
					}
				}
				break
			}
			if kinds&1 != 0 && c != '}' || kinds&1 == 0 && c != ']' {
				return clamp(b, i), ErrSyntax
			}
			i++
			depth--
			kinds >>= 1
			if depth > 0 && depth&63 == 0 {
				kinds = outer[len(outer)-1]
				outer = outer[:len(outer)-1]
			}
		}
	}
}

// scanKey scans an object's key, which should start at b[i], and the colon. It
// returns the index just after the key, whether the key has escapes, and where
// the value should start; that is the offset of the error if there is one.
func scanKey(b []byte, i int) (end int, escaped bool, value int, err error) {
	if at(b, i) != '"' {
		return i, false, i, ErrSyntax
	}
	end, escaped, err = scanString(b, i)
	if err != nil {
		return end, false, end, err
	}
	i = Space(b, end)
	if at(b, i) != ':' {
		return end, false, i, ErrSyntax
	}
	return end, escaped, Space(b, i+1), nil
}

// Eight copies of a byte, to look at eight bytes at a time.
const (
	ones     = 0x0101010101010101
	highBits = ones * 0x80
)

// scanString scans the string whose opening quote is b[i], and says whether it
// has escapes. Messages are mostly text, and text is mostly plain ASCII: that
// is passed over in words of eight bytes.
func scanString(b []byte, i int) (end int, escaped bool, err error) {
	i++
	for {
		for len(b)-i >= 8 {
			// The high bit is set in each byte that needs a look: a control
			// character, a quote, a backslash, one beyond ASCII. The
			// subtractions borrow only out of bytes that are marked
			// themselves, so the lowest mark, the first in b, is right.
			w := binary.LittleEndian.Uint64(b[i:])
			marks := ((w - ones*' ') | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones) | w) & highBits
			if marks != 0 {
				i += bits.TrailingZeros64(marks) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return len(b), false, ErrSyntax
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped, nil
		case c == '\\':
			escaped = true
			n := escapeLen(b[i:])
			if n == 0 {
				return i, false, ErrSyntax
			}
			i += n
		case c < ' ':
			return i, false, ErrSyntax
		case c < utf8.RuneSelf:
			i++ // one of the last seven bytes of b
		default:
			// Text that is not ASCII tends to stay so for a while.
			for i < len(b) && b[i] >= utf8.RuneSelf {
				n := runeLen(b[i:])
				if n == 0 {
					return i, false, ErrUTF8
				}
				i += n
			}
		}
	}
}

// runeLen returns the length of the character beyond ASCII that b starts with,
// or 0 if it is not valid UTF-8.
func runeLen(b []byte) int {
	if len(b) >= 2 && b[0]-0xC2 <= 0xDF-0xC2 && b[1]&0xC0 == 0x80 {
		return 2 // the accents of Europe, Cyrillic, Arabic: worth its own line
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n <= 1 {
		return 0
	}
	return n
}

// escapeLen returns the length of the escape that b starts with (b[0] is the
// backslash), or 0 if it is none.
func escapeLen(b []byte) int {
	switch at(b, 1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && isHex(b[2]) && isHex(b[3]) && isHex(b[4]) && isHex(b[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool {
	return isDigit(c) || c|0x20-'a' <= 'f'-'a'
}

func isDigit(c byte) bool {
	return c-'0' <= 9
}

// scanScalar scans a number, true, false or null.
func scanScalar(b []byte, i int) (end int, err error) {
	switch at(b, i) {
	case 't':
		return scanLiteral(b, i, "true")
	case 'f':
		return scanLiteral(b, i, "false")
	case 'n':
		return scanLiteral(b, i, "null")
	}
	return scanNumber(b, i)
}

func scanLiteral(b []byte, i int, want string) (end int, err error) {
	for k := range len(want) {
		if at(b, i+k) != want[k] {
			return i + k, ErrSyntax
		}
	}
	return i + len(want), nil
}

func scanNumber(b []byte, i int) (end int, err error) {
	if at(b, i) == '-' {
		i++
	}
	switch c := at(b, i); {
	case c == '0':
		i++ // nothing may follow a leading zero
	case isDigit(c):
		i = digits(b, i+1)
	default:
		return i, ErrSyntax
	}
	if at(b, i) == '.' {
		i++
		if !isDigit(at(b, i)) {
			return i, ErrSyntax
		}
		i = digits(b, i+1)
	}
	if at(b, i)|0x20 == 'e' {
		i++
		if c := at(b, i); c == '+' || c == '-' {
			i++
		}
		if !isDigit(at(b, i)) {
			return i, ErrSyntax
		}
		i = digits(b, i+1)
	}
	return i, nil
}

// digits returns the index of the first byte of b[i:] that is not a digit.
func digits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}
