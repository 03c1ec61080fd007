package heymanito_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// parsersTake holds a Socket.IO packet of the server's against what the parsers
// of the Swift, the Java and the Dart client demand. What one of them does not
// take it drops, or gives up its connection over, or crashes.
//
//   - Swift: SocketParsable.parseString, SocketPacket._fillInPlaceholders, which
//     crashes over a num that is no index
//   - Java: IOParser.Decoder.decodeString, isPayloadValid; Binary._reconstructPacket,
//     for which "true" is true as well; a binary frame that nothing announced
//     ends its thread
//   - Dart: socket_io_common parser.dart decodeString, isPayloadValid, binary.dart
//     _reconstructPacket
func parsersTake(p string) error {
	if p == "1" {
		return nil
	}
	if p == "" || !strings.ContainsAny(p[:1], "0123456") {
		return errors.New("no packet type")
	}
	kind, rest := p[0], p[1:]
	attachments := 0
	if kind == '5' || kind == '6' {
		digits, behind, _ := strings.Cut(rest, "-")
		n, err := strconv.Atoi(digits)
		// Java's and Swift's wait for ever for the frames of none.
		if err != nil || n < 1 || strconv.Itoa(n) != digits {
			return fmt.Errorf("%q attachments", digits)
		}
		attachments, rest = n, behind
	}
	payload := strings.TrimLeft(rest, "0123456789")
	if id := rest[:len(rest)-len(payload)]; id != "" {
		if _, err := strconv.ParseInt(id, 10, 32); err != nil || kind == '0' || kind == '4' { // Java's are ints
			return fmt.Errorf("the ack id %s", id)
		}
	}
	var value any
	if err := json.Unmarshal([]byte(payload), &value); err != nil {
		return fmt.Errorf("the payload: %w", err)
	}
	switch kind {
	case '0', '4':
		object, ok := value.(map[string]any)
		if _, sid := object["sid"].(string); !ok || kind == '0' && !sid {
			return errors.New("the payload is not the object it has to be")
		}
	case '2', '5':
		list, _ := value.([]any)
		reserved := []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
		if len(list) == 0 {
			return errors.New("an event without a name")
		} else if name, ok := list[0].(string); !ok || slices.Contains(reserved, name) {
			return fmt.Errorf("an event called %v", list[0])
		}
	case '3', '6':
		if _, ok := value.([]any); !ok {
			return errors.New("an ack that is no list")
		}
	default:
		return errors.New("a DISCONNECT with a payload")
	}
	if attachments > 0 {
		return placeholdersTake(value, attachments)
	}
	return nil
}

// placeholdersTake checks everything in a binary packet that one of them takes
// for a placeholder.
func placeholdersTake(value any, attachments int) error {
	switch v := value.(type) {
	case []any:
		for _, e := range v {
			if err := placeholdersTake(e, attachments); err != nil {
				return err
			}
		}
	case map[string]any:
		if mark, marked := v["_placeholder"]; marked && mark != false {
			num, ok := v["num"].(float64)
			if mark != true || !ok || num != float64(int(num)) || num < 0 || int(num) >= attachments {
				return fmt.Errorf("the placeholder %v, of %d attachments", v, attachments)
			}
			return nil
		}
		for _, e := range v {
			if err := placeholdersTake(e, attachments); err != nil {
				return err
			}
		}
	}
	return nil
}

// opensTake holds an open packet's payload against what the clients read of it.
func opensTake(p string) error {
	var open struct {
		SID          *string
		Upgrades     []string
		PingInterval *int32
		PingTimeout  *int32
		MaxPayload   *int64
	}
	err := json.Unmarshal([]byte(p), &open)
	if err == nil && (open.SID == nil || *open.SID == "" || open.Upgrades == nil || open.PingInterval == nil || open.PingTimeout == nil || open.MaxPayload == nil) {
		err = errors.New("something is missing")
	}
	return err
}

func TestParsersTake(t *testing.T) {
	for _, p := range []string{
		`1`, `0{"sid":"x"}`, `2["x"]`, `2["x",{"_placeholder":1}]`, `212["x",null]`, `2147483647["x"]`, `30[]`, `4{"message":"no"}`,
		`51-["x",{"_placeholder":true,"num":0}]`, `52-7["x",[{"a":{"num":1,"_placeholder":true}}],{"_placeholder":false,"num":9}]`, `61-3[{"_placeholder":true,"num":0}]`,
	} {
		if err := parsersTake(p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{
		``, `7`, `x`, `0`, `0[]`, `0{}`, `0{"sid":1}`, `01{"sid":"x"}`, `1{}`, `2`, `2[]`, `2{}`, `2["x"`, `2[null]`, `2["connect"]`, `22147483648["x"]`, `3`, `30`, `30{}`, `4`, `4"no"`,
		`50-["x"]`, `5["x"]`, `501-["x"]`, `5-["x"]`, `60-[]`, `51-["x",{"_placeholder":true,"num":1}]`, `51-["x",{"_placeholder":true,"num":-1}]`, `51-["x",{"_placeholder":true,"num":0.5}]`,
		`51-["x",{"_placeholder":true,"num":"0"}]`, `51-["x",{"_placeholder":true}]`, `51-["x",{"_placeholder":"true","num":0}]`, `51-["x",[{"a":{"_placeholder":1,"num":0}}]]`,
	} {
		if parsersTake(p) == nil {
			t.Errorf("%s is taken", p)
		}
	}
	if err := opensTake(`{"sid":"x","upgrades":[],"pingInterval":20000,"pingTimeout":40000,"maxPayload":1000000}`); err != nil {
		t.Error(err)
	}
	for _, p := range []string{`{`, `{}`, `{"sid":"","upgrades":[],"pingInterval":1,"pingTimeout":1,"maxPayload":1}`, `{"sid":"x","pingInterval":1,"pingTimeout":1,"maxPayload":1}`, `{"sid":"x","upgrades":[],"pingInterval":1.5,"pingTimeout":1,"maxPayload":1}`} {
		if opensTake(p) == nil {
			t.Errorf("%s is taken", p)
		}
	}
}
