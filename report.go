package heymanito

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// report is what is to be said of what a device has read: to the senders that
// their messages have arrived, and then to the inbox what need not be replayed.
// The feed's mu guards it.
type report struct {
	news    map[string]sentEntry // by sender: the newest message that was read and is not reported
	through uint64               // all up to here is reported, and AckThrough was told
	next    time.Time            // when there may be another one
	done    chan struct{}        // closed by the goroutine that reports at its end; nil: there is none
}

const (
	// reportEvery is the least time between two reports of a device: what a
	// client reads meanwhile is one receipt for each sender.
	reportEvery = time.Second
	// reportRetry is how long after a failure there is another one.
	reportRetry = 5 * time.Second
	// reportsAtOnce is how many senders are told at a time: a durable store
	// syncs once for all of them.
	reportsAtOnce = 16
)

// note keeps the newest message of each sender that is to be reported.
func (r *report) note(s sentEntry) {
	if s.sender == "" || s.seq <= max(r.through, r.news[s.sender].seq) {
		return
	}
	if r.news == nil {
		r.news = map[string]sentEntry{}
	}
	r.news[s.sender] = s
}

// tell reports what there is, on a goroutine of its own: the client's next event
// does not wait for a store. With mu.
func (f *feed) tell() {
	if f.claiming || f.report.done != nil || !f.untold() {
		return // who reports looks again before he ends
	}
	done := make(chan struct{})
	if f.srv.goRun(func() {
		defer close(done)
		f.reporting()
	}) {
		f.report.done = done
	}
}

// untold reports whether there is something to report. With mu.
func (f *feed) untold() bool { return len(f.report.news) > 0 || f.proven > f.report.through }

// reporting reports until there is nothing to report. What fails is tried again
// while the device is there, and once when it goes.
func (f *feed) reporting() {
	f.mu.Lock()
	for last, ok := false, true; f.untold() && (ok || !last); {
		wait, closed := time.Until(f.report.next), f.whenClosed()
		f.mu.Unlock()
		if wait > 0 {
			select {
			case <-closed:
			case <-time.After(wait):
			}
		}
		f.mu.Lock()
		last = f.state == feedClosed
		f.mu.Unlock()
		ok = f.reportOnce()
		f.mu.Lock()
		f.report.next = time.Now().Add(reportEvery)
		if !ok {
			f.report.next = time.Now().Add(reportRetry)
		}
	}
	f.report.done = nil
	f.mu.Unlock()
}

// reportOnce reports what there is now, and whether all of it was taken.
func (f *feed) reportOnce() bool {
	f.mu.Lock()
	through, news := f.proven, f.report.news
	f.report.news = nil
	if f.d.expelled.Load() { // what he has read goes with him: to say so would name him once more
		f.report.through = through
		f.mu.Unlock()
		return true
	}
	f.mu.Unlock()
	if !f.tellSenders(news) {
		return false // so that it is replayed to the next device, which reports it then
	}
	if err := f.srv.inbox.AckThrough(f.srv.ctx, f.d.ChatPath, through); err != nil {
		f.srv.log.Error("the inbox failed, something may be sent twice", "user", f.d.ChatPath, "err", err)
		return false
	}
	f.mu.Lock()
	f.report.through = max(f.report.through, through)
	f.mu.Unlock()
	return true
}

// tellSenders tells each sender of news, until one of them cannot be told: what
// is left is news again.
func (f *feed) tellSenders(news map[string]sentEntry) (ok bool) {
	var failed atomic.Bool
	tell := func(m sentEntry) {
		if !failed.Load() {
			ctx, cancel := context.WithTimeout(f.srv.ctx, storeTimeout) // for the Contacts hook
			err := f.srv.delivered(ctx, f.d.ChatPath, m.sender, m.id, m.seq)
			cancel()
			if err == nil {
				return
			}
			if !failed.Swap(true) {
				f.srv.log.Error("receipts are late", "user", f.d.ChatPath, "err", err)
			}
		}
		f.mu.Lock()
		f.report.note(m)
		f.mu.Unlock()
	}
	var all sync.WaitGroup
	room := make(chan struct{}, reportsAtOnce)
	for _, m := range news {
		switch {
		case f.reportedElsewhere(m.seq):
		case len(news) == 1:
			tell(m)
		default:
			room <- struct{}{}
			all.Go(func() {
				tell(m)
				<-room
			})
		}
	}
	all.Wait()
	return !failed.Load()
}

// reportedElsewhere reports whether another device of the user has read what is
// at seq, and its sender was told.
func (f *feed) reportedElsewhere(seq uint64) bool {
	for _, d := range f.srv.registry.devices(f.d.ChatPath) {
		if d != f.d && d.feed.hasReported(seq) {
			return true
		}
	}
	return false
}

func (f *feed) hasReported(seq uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report.through >= seq
}
