package presencetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/heymanito/heymanito"
)

func checkSnapshot(r *rig) error {
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	if len(all) != 0 {
		return ruleSnapshot.broken("it yielded %d users of an empty store", len(all))
	}
	const n = 300
	if err := r.many(n); err != nil {
		return err
	}
	for i := 0; i < n; i += 3 {
		if err := r.set(off(userName(i), "s")); err != nil {
			return err
		}
	}
	all, err = r.snapshot()
	if err != nil {
		return err
	}
	for i := range n {
		user := userName(i)
		p, found := all[user]
		if found != (i%3 != 0) {
			return ruleSnapshot.broken("it yielded %q: %t, who is online: %t", user, found, i%3 != 0)
		}
		if found {
			if err := samePresence(p, on(user, "s")); err != nil {
				return fmt.Errorf("Snapshot: %w", err)
			}
			delete(all, user)
		}
	}
	for user := range all {
		return ruleSnapshot.broken("it yielded %q, who was never set", user)
	}
	return nil
}

// checkSnapshotBreak calls the iterator as a for statement does: the statement
// itself would panic in place of an error.
func checkSnapshotBreak(r *rig) error {
	if err := r.many(20); err != nil {
		return err
	}
	for _, stop := range []int{1, 7} {
		calls := 0
		err := r.call("Snapshot", func(ctx context.Context) (err error) {
			r.store.Snapshot(ctx)(func(_ heymanito.Presence, e error) bool {
				calls++
				err = errors.Join(err, e)
				return calls < stop
			})
			return err
		})
		if err != nil {
			return err
		}
		if calls != stop {
			return ruleSnapshot.broken("the loop's body was called %d times, it broke off after %d", calls, stop)
		}
	}
	// Nothing is held that a complete iteration would have released.
	return r.set(on(userName(0), "another"), off(userName(1), "s"), on("another", "s"))
}

func checkSnapshotCancelled(r *rig) error {
	const n = 300
	if err := r.many(n); err != nil {
		return err
	}
	for _, after := range []int{0, 1, n / 2} {
		users, errs := 0, 0
		var last error
		err := r.call("Snapshot", func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if after == 0 {
				cancel()
			}
			r.store.Snapshot(ctx)(func(_ heymanito.Presence, err error) bool {
				last = err
				if err != nil {
					errs++
					return true // goes on, but there must be no more
				}
				if users++; users == after {
					cancel()
				}
				return true
			})
			return nil
		})
		if err != nil {
			return err
		}
		switch {
		case errs == 0 && after == 0:
			return ruleCtx.broken("Snapshot with a cancelled ctx yielded %d users and no error", users)
		case errs == 0 && users < n:
			// All n without an error would mean that ctx did not end first.
			return ruleCtx.broken("ctx was cancelled at the %d. user; Snapshot ended after %d of %d without an error", after, users, n)
		case errs > 1 || errs == 1 && last == nil:
			return ruleSnapshotE.broken("Snapshot went on after an error")
		case errs == 1:
			if err := wantCtxErr(ruleCtx, "Snapshot", last, context.Canceled); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSnapshotCallsStore(r *rig) error {
	const n = 20
	if err := r.many(n); err != nil {
		return err
	}
	seen := 0
	err := r.call("Snapshot whose loop calls the store", func(ctx context.Context) error {
		for p, err := range r.store.Snapshot(ctx) {
			if err != nil {
				return err
			}
			seen++
			if err := r.set(off(p.User, p.SocketID)); err != nil {
				return err
			}
			if err := r.sees(off(p.User, p.SocketID)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return ruleBeside.broken("%w", err)
	}
	if seen != n {
		return ruleSnapshot.broken("it yielded %d of %d users, each of whom went offline only then", seen, n)
	}
	return nil
}

func checkSnapshotBesideSet(r *rig) error {
	const (
		stay  = 50 // online all the time, every second one changing sockets
		flap  = 40 // come and go
		turns = 20
	)
	if err := r.many(stay); err != nil {
		return err
	}
	stop := make(chan struct{})
	const workers = 4
	churn := make(chan error, 1)
	go func() {
		churn <- parallel(workers, func(worker int) error {
			for turn := 0; ; turn++ {
				for i := worker; i < stay+flap; i += workers {
					select {
					case <-stop:
						return nil
					default:
					}
					var err error
					switch socket := fmt.Sprint("turn ", turn); {
					case i < stay && i%2 == 0:
						err = r.set(on(userName(i), socket))
					case i >= stay:
						err = r.set(on(userName(i), socket), off(userName(i), socket))
					}
					if err != nil {
						return err
					}
				}
			}
		})
	}()
	err := func() error {
		for range turns {
			all, err := r.snapshot() // finds who is yielded twice
			if err != nil {
				return err
			}
			for i := range stay {
				if _, found := all[userName(i)]; !found {
					return ruleSnapshot.broken("it did not yield %q, who was online all the time; others came and went", userName(i))
				}
				delete(all, userName(i))
			}
			for i := stay; i < stay+flap; i++ {
				delete(all, userName(i))
			}
			for user := range all {
				return ruleSnapshot.broken("it yielded %q, who was never set", user)
			}
		}
		return nil
	}()
	close(stop)
	if setErr := <-churn; setErr != nil {
		return setErr
	}
	return err
}
