//go:build linux

package main

import (
	"bytes"
	"strings"
)

// letter is a message from one user to another as a frame, in which from one to
// the next only the number changes: of the message and of its ack.
type letter struct {
	frame []byte
	at    []int // where the number is
	n     int
}

const number = "000000000"

func newLetter(from, to string, size int) *letter {
	packet := `42` + number + `["sendMessage",{"id":"m` + number + `","senderChatPath":"` + from + `","recipientChatPath":"` + to +
		`","content":{"text":"` + strings.Repeat("x", size) + `"},"senderProfile":{"name":"` + from + `"}}]`
	l := &letter{frame: append(frameHead(len(packet)), packet...)}
	for at := 0; ; at += len(number) {
		n := bytes.Index(l.frame[at:], []byte(number))
		if n < 0 {
			return l
		}
		at += n
		l.at = append(l.at, at)
	}
}

// next is the frame with a number that it has not had before, valid until the
// next call.
func (l *letter) next() []byte {
	l.n++
	for _, at := range l.at {
		for d, v := at+len(number)-1, l.n; v > 0; d, v = d-1, v/10 {
			l.frame[d] = '0' + byte(v%10)
		}
	}
	return l.frame
}
