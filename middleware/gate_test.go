package middleware

import (
	"bytes"
	"net/url"
	"testing"
)

// FuzzHasSession holds hasSession to what the server finds in a query.
func FuzzHasSession(f *testing.F) {
	for _, q := range []string{
		"", "sid=x", "EIO=4&transport=polling&sid=x&t=1", "EIO=4&transport=polling", "sid=", "sid", "sid=&sid=x", "sid=x&sid=",
		"%73id=x", "%73id=&sid=x", "s%69d&sid=x", "sid=%00", "xsid=x", "sidx=x", "SID=x", "&&sid=x", "=sid", "a+b=c&sid=x", "+sid=x",
		"sid=a=b", "%zz=1&sid=x", "sid=%zz", "a;b&sid=x", "sid=a;b",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := hasSession(query)
		q, err := url.ParseQuery(query)
		if want := q.Get("sid") != ""; err == nil && got != want {
			t.Errorf("hasSession(%q) = %v", query, got)
		}
	})
}

func TestClient(t *testing.T) {
	for _, same := range [][]string{
		{"192.0.2.1:1", "192.0.2.1:65535", "192.0.2.1", "[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1"},
		{"192.0.2.2:1"},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::]:2", "2001:db8:0:1::", "[2001:db8:0:1::1%eth0]:1"},
		{"[2001:db8:0:2::1]:1"},
		{"@"},
		{""},
		{"unknown"},
		{"192.0.2.1, 192.0.2.2"}, // a header that was not taken apart
	} {
		first := client(same[0])
		for _, addr := range same {
			if got := client(addr); !bytes.Equal(got, first) {
				t.Errorf("client(%q) = %x, and of %q it is %x", addr, got, same[0], first)
			}
		}
		for _, other := range []string{"192.0.2.3", "[2001:db8:0:3::1]:1", "another"} {
			if bytes.Equal(client(other), first) {
				t.Errorf("%q counts as %q", other, same[0])
			}
		}
	}
}
