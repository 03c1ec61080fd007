package middleware

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// bucket is what a meter is for one that is never forgotten.
type bucket struct{ until time.Time }

func (b *bucket) take(m *meter) bool {
	from := time.Now()
	if b.until.After(from) {
		from = b.until
	}
	if time.Until(from) > m.slack {
		return false
	}
	b.until = from.Add(m.interval)
	return true
}

// A meter lets nobody come whom a bucket of his own would not, however many come
// beside him and however little it remembers; and with room for all it is as good
// as buckets.
func TestMeter(t *testing.T) {
	for _, c := range []struct{ most, users int }{{100, 40}, {4, 40}, {1, 3}, {30, 40}} {
		synctest.Test(t, func(t *testing.T) {
			m := newMeter(60, 5)
			m.most = c.most
			buckets := make([]bucket, c.users)
			let, notLet := 0, 0
			for range 20_000 {
				time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Second / time.Duration(c.users)))))
				who := min(rand.IntN(c.users), rand.IntN(c.users)) // some come more often
				old := buckets[who]
				wait := m.take(binary.BigEndian.AppendUint64(nil, uint64(who)))
				mayCome := buckets[who].take(m)
				switch {
				case wait == 0 && !mayCome:
					t.Fatalf("%d of %d remembered: somebody came who had to wait", c.most, c.users)
				case wait > 0 && mayCome && c.most >= c.users:
					t.Fatalf("%d of %d remembered: somebody had to wait %v who might come", c.most, c.users, wait)
				case wait > 0 && c.most >= c.users && !time.Now().Add(wait+m.slack).Equal(old.until):
					t.Fatalf("was told to wait %v, and would have to %v", wait, time.Until(old.until)-m.slack)
				case wait > 0:
					buckets[who] = old // the meter did not let him
					notLet++
				default:
					let++
				}
				if d := &m.debts; len(d.list) > c.most || len(d.at) != len(d.list) {
					t.Fatalf("%d remembered, %d in the index; there is room for %d", len(d.list), len(d.at), c.most)
				}
			}
			if let < 1000 || notLet < 1000 {
				t.Errorf("%d of %d remembered: %d came and %d had to wait: that tests little", c.most, c.users, let, notLet)
			}
			// Time pays everything off, and then nobody is remembered.
			time.Sleep(time.Hour)
			for i := range 2 * c.users {
				if wait := m.take([]byte{byte(i), 1}); wait > 0 && c.most >= 2*c.users {
					t.Errorf("a stranger has to wait %v", wait)
				}
			}
			time.Sleep(time.Hour)
			for range c.most {
				m.take([]byte{0})
				time.Sleep(time.Minute)
			}
			if n := len(m.debts.list); n > 1 {
				t.Errorf("%d are remembered of whom nothing is to be remembered", n)
			}
		})
	}
}

// While a meter is full of debtors a stranger is taken for the least of them.
func TestMeterIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(1, 3)
		m.most = 10
		for i := range 10 {
			for range 2 {
				if m.take([]byte{byte(i)}) > 0 {
					t.Fatal("two of three at once have to wait")
				}
			}
		}
		for i := range 10 { // one each, for strangers and for those they have replaced
			if m.take([]byte{byte(100 + i)}) > 0 {
				t.Fatal("the third has to wait")
			}
		}
		if wait := m.take([]byte{200}); wait != time.Minute {
			t.Errorf("a stranger has to wait %v, want a minute", wait)
		}
		if wait := m.take([]byte{0}); wait != time.Minute {
			t.Errorf("who was forgotten has to wait %v, want a minute", wait)
		}
		time.Sleep(time.Minute)
		if wait := m.take([]byte{200}); wait > 0 {
			t.Errorf("after a minute a stranger has to wait %v", wait)
		}
	})
}

func BenchmarkMeter(b *testing.B) {
	m := newMeter(60, 30)
	key := make([]byte, 8)
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint64(key, uint64(i))
		m.take(key)
	}
}
