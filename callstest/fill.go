package callstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/heymanito/heymanito"
)

// filled is a call of ann's in which no field is zero, each of another value, whatever
// fields Call has. It rings. Calls that were filled from another n differ in
// all of them that may change.
func filled(n int, name, callee string) heymanito.Call {
	var c heymanito.Call
	n *= 1000
	fill(reflect.ValueOf(&c).Elem(), &n)
	c.ID, c.Caller, c.Callee = id(name), "ann", callee
	c.State, c.Withheld = heymanito.CallRinging, ""
	return c
}

// fill sets v, and all that is in it, to values made of *n, which it counts up.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMilli(1_800_000_000_000 + int64(*n)*86_399_999).UTC()))
		return
	case json.RawMessage: // as it came: no store is to make it compact, or otherwise nicer
		v.Set(reflect.ValueOf(json.RawMessage(fmt.Sprintf("{\"n\": %d,  \"<b>\":\"\\ud800\\/\u2028\", \"n\":1.0}", *n))))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("é \x00<&>\u2028 %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(1<<63 + uint64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n) | 128)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, n)
		}
	default:
		panic(fmt.Sprintf("callstest: fill does not know %s", v.Type()))
	}
}

// difference says in what got differs from the call that it should be. One that
// has ended may be without what it carried.
func difference(got, want heymanito.Call) string {
	if want.State == heymanito.CallEnded {
		if len(got.CallerInfo) == 0 {
			want.CallerInfo = nil
		}
		if len(got.Attachments) == 0 {
			want.Attachments = nil
		}
	}
	return differs("", reflect.ValueOf(got), reflect.ValueOf(want))
}

func differs(name string, got, want reflect.Value) string {
	differ := func() string {
		return fmt.Sprintf("%s is %.300s, want %.300s", name, fmt.Sprint(got), fmt.Sprint(want))
	}
	if at, ok := reflect.TypeAssert[time.Time](got); ok {
		if !at.Equal(want.Interface().(time.Time)) {
			return differ()
		}
		return ""
	}
	switch got.Kind() {
	case reflect.Slice:
		if got.Type().Elem().Kind() == reflect.Uint8 {
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				return fmt.Sprintf("%s is %.300q, want %.300q", name, got.Bytes(), want.Bytes())
			}
			return ""
		}
		if got.Len() != want.Len() {
			return differ()
		}
		for i := range got.Len() {
			if what := differs(fmt.Sprintf("%s[%d]", name, i), got.Index(i), want.Index(i)); what != "" {
				return what
			}
		}
		return ""
	case reflect.Struct:
		for i := range got.NumField() {
			field := got.Type().Field(i).Name
			if name != "" {
				field = name + "." + field
			}
			if what := differs(field, got.Field(i), want.Field(i)); what != "" {
				return what
			}
		}
		return ""
	}
	if !got.Equal(want) {
		return differ()
	}
	return ""
}
