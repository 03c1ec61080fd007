package torture

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// letter is a message that is sent until it is acked, or given up.
type letter struct {
	from, to, id string // id as JSON
	payload      string // the argument of sendMessage
	attachments  [][]byte
	body         digest
}

// weight is how much a letter carries.
type weight uint8

const (
	light  weight = iota
	long          // a long text
	photos        // attachments
	heavy         // attachments that fill a queue
)

const longText, heavyPhoto = 8 << 10, 16 << 10

// newLetter writes a message.
func newLetter(random *rand.Rand, from, to, id string, w weight) *letter {
	m := &letter{from: from, to: to, id: id}
	content, profile := scribble(random), ""
	switch w {
	case long:
		content = `{"text":"` + strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(longText)) + `"}`
	case heavy:
		content = `{"photo":` + placeholder(0) + `}`
		m.attachments = [][]byte{bytes.Repeat(append(noise(random), 1), heavyPhoto/100)}
	case photos:
		n := 1 + random.IntN(3)
		list := make([]string, n)
		for i := range list {
			list[i] = placeholder(i)
			m.attachments = append(m.attachments, noise(random))
		}
		content = `{"text":` + content + `,"photos":[` + strings.Join(list, " , ") + `]}`
	case light:
	}
	switch random.IntN(3) {
	case 0:
		profile = `{"name":"` + from + `", "n": 9007199254740993}`
	case 1:
		if w == photos {
			profile = `{"face":` + placeholder(len(m.attachments)) + `}`
			m.attachments = append(m.attachments, noise(random))
		}
	}
	m.payload = fmt.Sprintf(`{"id":%s,"senderChatPath":%q,"recipientChatPath":%q`, id, from, to)
	var c, p []byte
	if random.IntN(20) > 0 { // else it is absent
		m.payload += `,"content":` + content
		c = []byte(content)
	} else {
		profile, m.attachments = "", nil
	}
	if profile != "" {
		m.payload += `,"senderProfile":` + profile
		p = []byte(profile)
	}
	m.payload += "}"
	m.body = digestOf(c, p, m.attachments)
	return m
}

func placeholder(n int) string { return `{"_placeholder":true,"num":` + strconv.Itoa(n) + `}` }

func noise(random *rand.Rand) []byte {
	b := make([]byte, random.IntN(200))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// scribble is a JSON value that a careless server would change.
func scribble(random *rand.Rand) string {
	n := random.Uint32()
	switch random.IntN(10) {
	case 0:
		return fmt.Sprintf(`{"z":1,"a":2,"n":%d, "z" : 3}`, n)
	case 1:
		return fmt.Sprintf(`"\ud83d %d \u0000 é 🌊 \/"`, n)
	case 2:
		return fmt.Sprintf(`[1.0,-0,1e400,%d.10,123456789012345678901234567890,[],{},null]`, n)
	case 3:
		return "null"
	case 4:
		return fmt.Sprintf(`{"text":"</script>  %d ,\"]}","deep":[[[[[{"a":[{}]}]]]]]}`, n)
	}
	return fmt.Sprintf(`{"text":"hola %d","at":%d}`, n, n>>3)
}

// packets is the letter as it goes out.
func (m *letter) packets(call int) []packet {
	head := "42"
	if n := len(m.attachments); n > 0 {
		head = "45" + strconv.Itoa(n) + "-"
	}
	ps := []packet{{text: head + strconv.Itoa(call) + `["sendMessage",` + m.payload + "]"}}
	for _, a := range m.attachments {
		ps = append(ps, packet{binary: a})
	}
	return ps
}
