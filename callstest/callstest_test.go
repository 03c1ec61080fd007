package callstest_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/callstest"
)

func newMemory(*testing.T) heymanito.CallStore { return heymanito.NewMemoryCalls() }

func TestMemoryCalls(t *testing.T) { callstest.Run(t, newMemory) }

// TestRealTime shows that a store need not be in a bubble.
func TestRealTime(t *testing.T) { callstest.Run(t, newMemory, callstest.RealTime()) }

// TestRules keeps what failures quote to what the contract says.
func TestRules(t *testing.T) {
	source, err := os.ReadFile("../callstore.go")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[\s/]+`)
	contract := words.ReplaceAllString(string(source), " ")
	for _, rule := range callstest.Rules {
		if !strings.Contains(contract, words.ReplaceAllString(string(rule), " ")) {
			t.Errorf("callstore.go does not say %q", rule)
		}
	}
}

// TestFilled: no field of a Call, whatever is added, is left out of what the
// suite fills and compares.
func TestFilled(t *testing.T) {
	fields(t, "Call", reflect.TypeFor[heymanito.Call](), func(c *heymanito.Call) reflect.Value { return reflect.ValueOf(c).Elem() })
}

// fields checks every field below what of finds in a Call.
func fields(t *testing.T, name string, typ reflect.Type, of func(*heymanito.Call) reflect.Value) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		of := func(c *heymanito.Call) reflect.Value { return of(c).Field(i) }
		if field.Type.Kind() == reflect.Struct && field.Type.NumField() > 0 && field.Type.Field(0).IsExported() {
			fields(t, name+"."+field.Name, field.Type, of)
			continue
		}
		full := callstest.Filled(1)
		was := full
		if v := of(&full); v.IsZero() && field.Name != "Withheld" { // a call that is Withheld is another story
			t.Errorf("%s.%s is not filled", name, field.Name)
		}
		callstest.Fill(of(&full).Addr().Interface(), 77)
		if of(&full).Kind() == reflect.Bool {
			of(&full).SetBool(false)
		}
		if what := callstest.Difference(full, was); !strings.Contains(what, field.Name) {
			t.Errorf("another %s.%s makes the difference %q", name, field.Name, what)
		}
	}
}
