package presencetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/heymanito/heymanito"
)

func checkVisible(r *rig) error {
	for _, p := range []heymanito.Presence{
		on("ann", "a1"),
		on("bob", "b1"),
		on("ann", "a2"),
		off("bob", "b1"),
		on("bob", "b2"),
		off("ann", "a2"),
		off("bob", "b2"),
	} {
		if err := r.set(p); err != nil {
			return err
		}
		if err := r.sees(p); err != nil {
			return err
		}
	}
	return nil
}

func checkLastSeenOverTime(r *rig) error {
	w, err := r.watch()
	if err != nil {
		return err
	}
	// LastSeen of the argument is ignored, coming and going.
	stray := on("ann", "a1")
	stray.LastSeen = time.Unix(1, 0)
	if err := r.set(stray); err != nil {
		return err
	}
	if err := r.sees(on("ann", "a1")); err != nil {
		return err
	}
	stray.Online = false
	if err := r.set(stray); err != nil {
		return err
	}
	first, err := r.one("ann")
	if err != nil {
		return err
	}
	if err := samePresence(first, off("ann", "a1")); err != nil {
		return err
	}
	if first.LastSeen.Equal(stray.LastSeen) {
		return ruleSet.broken("LastSeen is what Set was given")
	}

	// Let the store's clock go on, as its last seen of others shows, and set
	// offline again who has gone already.
	for deadline := time.Now().Add(r.patience); ; {
		if err := r.set(on("clock", "c"), off("clock", "c")); err != nil {
			return err
		}
		clock, err := r.one("clock")
		if err != nil {
			return err
		}
		if clock.LastSeen.After(first.LastSeen) {
			break
		}
		if time.Now().After(deadline) {
			return ruleLastSeen.broken("one user was last seen at %v, another %v later at %v", first.LastSeen, r.patience, clock.LastSeen)
		}
	}
	if err := r.set(off("ann", "a1")); err != nil {
		return err
	}
	again, err := r.one("ann")
	if err != nil {
		return err
	}
	if !again.LastSeen.Equal(first.LastSeen) {
		return ruleLastSeen.broken("the user went offline at %v; after another Set offline LastSeen is %v", first.LastSeen, again.LastSeen)
	}

	// Going a second time counts again.
	if err := r.set(on("ann", "a2")); err != nil {
		return err
	}
	if err := r.sees(on("ann", "a2")); err != nil {
		return err
	}
	if err := r.set(off("ann", "a2")); err != nil {
		return err
	}
	second, err := r.one("ann")
	if err != nil {
		return err
	}
	if !second.LastSeen.After(first.LastSeen) {
		return ruleLastSeen.broken("the user went offline at %v and again later; LastSeen is %v", first.LastSeen, second.LastSeen)
	}

	// The edges say the same.
	if err := w.want(ruleEdges, "ann", came("ann", "a1"), went("ann", "a1"), came("ann", "a2"), went("ann", "a2")); err != nil {
		return err
	}
	edges := w.reported("ann")
	for i, p := range []heymanito.Presence{first, second} {
		if e := edges[2*i+1]; !e.LastSeen.Equal(p.LastSeen) {
			return ruleLastSeen.broken("the edge has LastSeen %v, Online has %v", e.LastSeen, p.LastSeen)
		}
	}
	return w.finish()
}

func checkOnline(r *rig) error {
	if err := r.set(on("ann", "a1"), on("bob", "b1"), off("bob", "b1"), on("cid", "c1")); err != nil {
		return err
	}
	// online itself compares the users with the answer's.
	for _, users := range [][]string{
		nil,
		{"ann"},
		{"nobody"},
		{"cid", "nobody", "ann", "bob", "nobody else"},
		{"bob", "ann", "bob", "ann", "ann", "nobody", "nobody"},
	} {
		ps, err := r.online(users...)
		if err != nil {
			return err
		}
		for i, p := range ps {
			var err error
			switch p.User {
			case "ann":
				err = samePresence(p, on("ann", "a1"))
			case "bob":
				err = samePresence(p, off("bob", "b1"))
			case "cid":
				err = samePresence(p, on("cid", "c1"))
			default:
				if p != (heymanito.Presence{User: p.User}) {
					err = ruleOnline.broken("%q was never set, but is %s", p.User, describe(p))
				}
			}
			if err != nil {
				return fmt.Errorf("Online(%q)[%d]: %w", users, i, err)
			}
		}
	}
	// Who was only ever set offline never went offline.
	if err := r.set(off("dan", "d1")); err != nil {
		return err
	}
	dan, err := r.one("dan")
	if err != nil {
		return err
	}
	if dan.Online || !dan.LastSeen.IsZero() {
		return ruleLastSeen.broken("a user who was never online has gone offline: %s, LastSeen %v", describe(dan), dan.LastSeen)
	}
	return nil
}

// checkNames is for stores that build keys and patterns from names. Any name
// is a chatPath, and any two differ.
func checkNames(r *rig) error {
	users := []string{
		"ann", "Ann", "ANN", " ann", "ann ", "a\u00f1n", "an\u0303n", "ann:", ":ann", "ann:1", "ann/1", "ann.1",
		"*", "?", "[ann]", "{ann}", "{", "}", "%", "%61nn", "'ann'", `"ann"`, `\ann`, "ann,bob", "ann|bob", "ann;--",
		"0", "00", "-1", "1e3", "null", "undefined", "true", "__proto__", "user", "online", "\u202eann", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
		strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("\u00e9", 128),
	}
	w, err := r.watch()
	if err != nil {
		return err
	}
	socket := func(i int) string { return fmt.Sprintf("s:%d|{*}", i) }
	for i, user := range users {
		if err := r.unknown(ruleOnline, user); err != nil {
			return err
		}
		if err := r.set(on(user, socket(i))); err != nil {
			return err
		}
	}
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	ps, err := r.online(users...)
	if err != nil {
		return err
	}
	for i, user := range users {
		if err := samePresence(ps[i], on(user, socket(i))); err != nil {
			return fmt.Errorf("Online: %w", err)
		}
		p, found := all[user]
		if !found {
			return ruleSnapshot.broken("it did not yield %q", user)
		}
		if err := samePresence(p, on(user, socket(i))); err != nil {
			return fmt.Errorf("Snapshot: %w", err)
		}
	}
	if len(all) != len(users) {
		return ruleSnapshot.broken("it yielded %d users, %d are online", len(all), len(users))
	}
	for i, user := range users {
		if i%2 == 0 {
			err = r.set(off(user, socket(i)))
		} else {
			err = r.forget(user)
		}
		if err != nil {
			return err
		}
	}
	for i, user := range users {
		if err := w.want(ruleEdges, user, came(user, socket(i)), went(user, socket(i))); err != nil {
			return err
		}
		if i%2 == 0 {
			err = r.sees(off(user, socket(i)))
		} else {
			err = r.unknown(ruleForget, user)
		}
		if err != nil {
			return err
		}
	}
	return w.finish()
}

func checkIdempotent(r *rig) error {
	w, err := r.watch()
	if err != nil {
		return err
	}
	// The edge of the last Set of each user is the proof: what came before it
	// would have been reported before it.
	err = r.set(
		on("ann", "a1"), on("ann", "a1"), on("ann", "a1"), off("ann", "a1"), off("ann", "a1"), off("ann", "a1"), on("ann", "a1"), on("ann", "a1"),
		off("ann", "a1"),
		off("bob", "b1"), off("bob", "b1"),
		on("bob", "b1"),
		on("cid", "c1"), on("cid", "c2"), on("cid", "c2"), on("cid", "c2"),
		off("cid", "c2"),
	)
	if err != nil {
		return err
	}
	if err := w.want(ruleIdempotent, "ann", came("ann", "a1"), went("ann", "a1"), came("ann", "a1"), went("ann", "a1")); err != nil {
		return err
	}
	if err := w.want(ruleIdempotent, "bob", came("bob", "b1")); err != nil {
		return err
	}
	if err := w.want(ruleIdempotent, "cid", came("cid", "c1"), moved("cid", "c2"), went("cid", "c2")); err != nil {
		return err
	}
	return w.finish()
}

func checkForget(r *rig) error {
	if err := r.set(on("offline", "o1"), off("offline", "o1"), on("online", "n1"), on("other", "x1"), on("gone", "g1"), off("gone", "g1")); err != nil {
		return err
	}
	w, err := r.watch()
	if err != nil {
		return err
	}
	for _, user := range []string{"unknown", "offline", "online", "online"} {
		if err := r.forget(user); err != nil {
			return err
		}
		if err := r.unknown(ruleForget, user); err != nil {
			return err
		}
	}
	all, err := r.snapshot()
	if err != nil {
		return err
	}
	if _, found := all["online"]; found {
		return ruleForget.broken("Snapshot yields a user who was forgotten")
	}
	if len(all) != 1 {
		return ruleForget.broken("Snapshot yields %d users, 1 other is online", len(all))
	}
	// The others are as before.
	if err := r.sees(on("other", "x1")); err != nil {
		return err
	}
	if err := r.sees(off("gone", "g1")); err != nil {
		return err
	}
	// Who is forgotten starts anew, also if he is set offline first.
	if err := r.set(off("online", "n1"), on("online", "n1"), on("offline", "o1"), on("unknown", "u1")); err != nil {
		return err
	}
	if err := w.want(ruleForget, "online", went("online", "n1"), came("online", "n1")); err != nil {
		return err
	}
	if err := w.want(ruleForget, "offline", came("offline", "o1")); err != nil {
		return err
	}
	if err := w.want(ruleForget, "unknown", came("unknown", "u1")); err != nil {
		return err
	}
	if err := r.sees(on("online", "n1")); err != nil {
		return err
	}
	return w.finish()
}

func checkCancelled(r *rig) error {
	if err := r.set(on("ann", "a1")); err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithTimeout(context.Background(), -1)
	defer cancel()
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, m := range []struct {
			name string
			call func() error
		}{
			{"Set", func() error { return r.store.Set(ctx, on("bob", "b1")) }},
			{"Online", func() error { _, err := r.store.Online(ctx, []string{"ann"}); return err }},
			{"Forget", func() error { return r.store.Forget(ctx, "nobody") }},
			{"Watch", func() error { return r.store.Watch(ctx, nil, func(heymanito.Edge) {}) }},
			{"Snapshot", func() error {
				for _, err := range r.store.Snapshot(ctx) {
					if err != nil {
						return err
					}
				}
				return nil
			}},
		} {
			var got error
			err := r.call(m.name+" with a ctx that has ended", func(context.Context) error {
				got = m.call()
				return nil
			})
			if err != nil {
				return err
			}
			if err := wantCtxErr(ruleCtx, m.name, got, ctx.Err()); err != nil {
				return err
			}
		}
	}
	// Nothing of that has done harm.
	return r.sees(on("ann", "a1"))
}
