package jsonspan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Text decodes the JSON string literal raw, quotes included. ok is false when
// raw is anything else, nil included, and when it does not decode to valid
// UTF-8, which a lone surrogate escape ("\ud800") does not.
//
// The string is a copy of its own size and does not keep raw alive.
func Text(raw []byte) (s string, ok bool) {
	if at(raw, 0) != '"' {
		return "", false
	}
	end, escaped, err := scanString(raw, 0)
	if err != nil || end != len(raw) {
		return "", false
	}
	literal := raw[1 : end-1]
	if !escaped {
		return string(literal), true
	}
	// Ids and names fit into the buffer, which stays on the stack.
	var buf [256]byte
	text, ok := appendUnescaped(buf[:0], literal)
	if !ok {
		return "", false
	}
	return string(text), true
}

// TextEqual reports whether raw is a JSON string literal, quotes included, that
// decodes to s. It does not allocate.
func TextEqual(raw []byte, s string) bool {
	if at(raw, 0) != '"' {
		return false
	}
	end, escaped, err := scanString(raw, 0)
	return err == nil && end == len(raw) && literalEqual(raw, escaped, s)
}

// literalEqual is TextEqual for a literal that has been scanned.
func literalEqual(raw []byte, escaped bool, s string) bool {
	literal := raw[1 : len(raw)-1]
	if !escaped {
		return string(literal) == s
	}
	for len(literal) > 0 {
		if literal[0] != '\\' {
			if s == "" || s[0] != literal[0] {
				return false
			}
			literal, s = literal[1:], s[1:]
			continue
		}
		r, n := unescape(literal)
		if utf16.IsSurrogate(r) {
			return false
		}
		var char [utf8.UTFMax]byte
		size := utf8.EncodeRune(char[:], r)
		if len(s) < size || s[:size] != string(char[:size]) {
			return false
		}
		literal, s = literal[n:], s[size:]
	}
	return s == ""
}

// appendUnescaped appends what a scanned literal, without its quotes, decodes
// to. Lone surrogates are appended as if they were characters (WTF-8), so that
// literals which differ for JavaScript decode to different bytes; ok says that
// there was none, and hence that the result is valid UTF-8.
func appendUnescaped(dst, literal []byte) (_ []byte, ok bool) {
	ok = true
	for {
		plain := bytes.IndexByte(literal, '\\')
		if plain < 0 {
			return append(dst, literal...), ok
		}
		dst = append(dst, literal[:plain]...)
		r, n := unescape(literal[plain:])
		if utf16.IsSurrogate(r) {
			ok = false
			dst = append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
		literal = literal[plain+n:]
	}
}

// unescape decodes the escape that b, scanned before, starts with, and returns
// its length. A pair of surrogates is one escape; r is a surrogate when it has
// no partner.
func unescape(b []byte) (r rune, n int) {
	switch c := b[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default: // a quote, a backslash, a slash
		return rune(c), 2
	}
	r = hex4(b[2:])
	if utf16.IsSurrogate(r) && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(b[8:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

// hex4 returns the value of the four hexadecimal digits that b starts with.
func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		if isDigit(c) {
			r = r<<4 | rune(c-'0')
		} else {
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}

const hexDigits = "0123456789abcdef"

// Append appends s to dst as a JSON string literal that every parser reads.
// Only what JSON demands is escaped, and U+2028 and U+2029, which older
// JavaScript refuses in its strings. Each byte of s that is not valid UTF-8
// becomes U+FFFD.
func Append(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0 // s[:done] is in dst
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n > 1) && r != '\u2028' && r != '\u2029' {
				i += n
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		i += n
		done = i
		switch r {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\u2028':
			dst = append(dst, `\u2028`...)
		case '\u2029':
			dst = append(dst, `\u2029`...)
		case utf8.RuneError:
			dst = append(dst, "\uFFFD"...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&0xF])
		}
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
