package heymanito

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParsePosition(t *testing.T) {
	if got, err := parsePosition(nil); got != nil || err != nil {
		t.Errorf("without a since: %v, %v", got, err)
	}
	longest := strings.Repeat("e", 64)
	for raw, want := range map[string]*position{
		`null`:                                nil,
		`{}`:                                  {},
		`{"epoch":"e","seq":0}`:               {epoch: "e"},
		`{"seq":7,"epoch":"e","more":[]}`:     {epoch: "e", seq: 7},
		`{"epoch":"` + longest + `","seq":1}`: {epoch: longest, seq: 1},
	} {
		got, err := parsePosition(json.RawMessage(raw))
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s is %v, %v, want %v", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		`[]`, `"e"`, `1`, `{"epoch":"e"}`, `{"seq":1}`, `{"epoch":"","seq":1}`, `{"epoch":"e","seq":-1}`, `{"epoch":"e","seq":1.5}`,
		`{"epoch":"e","seq":"1"}`, `{"epoch":1,"seq":1}`, `{"epoch":"e","seq":18446744073709551616}`, `{"epoch":"e` + longest + `","seq":1}`,
	} {
		if got, err := parsePosition(json.RawMessage(raw)); err == nil || err.Code != CodeInvalid {
			t.Errorf("%s is %v, %v", raw, got, err)
		}
	}
}
