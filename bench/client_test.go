//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

// framed is a text message as a server sends it.
func framed(text string) []byte {
	head := frameHead(len(text))
	head = head[:len(head)-4] // no mask
	head[1] &^= 0x80
	return append(head, text...)
}

func TestNext(t *testing.T) {
	long := strings.Repeat("x", 200)
	var all []byte
	for _, text := range []string{
		`0{"sid":"x"}`, "2", `40{"sid":"x"}`, `42["online_users",{"u1":"` + strings.Repeat(long, 400) + `"}]`,
		`42["contact_online","u7"]`, `42["receiveMessage",{"text":"` + long + `"}]`, `431[{"status":"ok"}]`, "3probe", `42["typing",1]`,
	} {
		all = append(all, framed(text)...)
	}
	inParts := framed(`42["online_users",{` + long[:100])
	inParts[0] &^= 0x80 // more comes
	rest := framed(long[:100] + `}]`)
	rest[0] &^= 0x0f // of the same message
	all = slices.Concat(all, inParts, rest, framed(`42["typing",2]`), []byte{0x88, 2, 3, 232})
	here, there := net.Pipe()
	defer there.Close()
	c := &client{nc: here, r: bufio.NewReaderSize(here, 64)}
	pong := make([]byte, 7)
	go func() {
		there.Write(all[:len(framed(`0{"sid":"x"}`))+3])
		there.Read(pong)
		there.Write(all[len(framed(`0{"sid":"x"}`))+3:])
	}()
	want := []kind{kindOpen, kindPing, kindConnected, kindSnapshot, kindOnline, kindMessage, kindAck, kindProbe, kindOther, kindSnapshot, kindOther}
	var got []kind
	for {
		k, _, err := c.next()
		if err != nil {
			if !errors.Is(err, errEnded) {
				t.Fatal(err)
			}
			break
		}
		got = append(got, k)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the messages are %v, not %v", got, want)
	}
	if !bytes.Equal(pong, []byte{0x81, 0x81, 0, 0, 0, 0, '3'}) {
		t.Errorf("the answer to a ping is %q", pong)
	}
	if _, err := kindOf([]byte(`431[{"status":"error"`)); err == nil {
		t.Error("an ack that is an error passes")
	}
}
