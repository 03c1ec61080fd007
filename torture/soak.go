package torture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// soak is the same work again and again, for one server: a storm, and scenes and
// visits meanwhile.
type soak struct {
	storm  config
	lasts  time.Duration // of the storm
	scenes []*scene
	takes  int      // how often each of them is played in a round
	long   []*scene // which are played once
	visits int      // in a round
	guests int      // as many people visit

	rounds int
	counts map[string]int // how often what has happened in storms, and which scenes came to their end
}

// round is one round, at the end of which nobody is there. It returns what went
// wrong for a client. Everybody in it is new: what stays of somebody by his name
// would not grow if he came again.
func (s *soak) round() error {
	s.rounds++
	s.storm.suffix = fmt.Sprintf(" (%d)", s.rounds)
	st := newStorm(s.storm)
	st.start()
	var running sync.WaitGroup
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	var mu sync.Mutex // guards wrong, and counts until all are done
	var wrong []error
	perform := func(what *scene, number int) {
		random := rand.New(rand.NewPCG(s.storm.seed, uint64(number)))
		err := what.perform(fmt.Sprint(number, s.storm.suffix), random, s.storm.addr)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			s.counts["scene: "+what.name]++
		case !errors.Is(err, errLate):
			wrong = append(wrong, err)
		}
	}
	for _, scene := range s.scenes {
		running.Go(func() {
			for n := range s.takes {
				perform(scene, n)
			}
		})
	}
	for _, scene := range s.long {
		running.Go(func() { perform(scene, 0) })
	}
	var visits atomic.Int64
	visit := visit()
	for range 4 {
		running.Go(func() {
			for n := visits.Add(1); int(n) <= s.visits; n = visits.Add(1) {
				perform(visit, int(n)%s.guests)
			}
		})
	}
	st.sleep(s.lasts)
	running.Wait()
	st.abate()
	if !st.all((*device).rested) {
		wrong = append(wrong, fmt.Errorf("not everybody has come to rest within %v", s.storm.calm))
	}
	for _, w := range st.disperse() {
		wrong = append(wrong, errors.New(w))
	}
	for what, n := range st.counts {
		s.counts[what] += n
	}
	return errors.Join(wrong...)
}

// people is everybody who has been there in the round.
func (s *soak) people() (all []string) {
	for n := range s.storm.users {
		all = append(all, chatPath(n)+s.storm.suffix)
	}
	add := func(what *scene, n int) {
		for _, who := range what.people {
			for n := range n {
				all = append(all, castPath(what.name, who, fmt.Sprint(n, s.storm.suffix)))
			}
		}
	}
	for _, scene := range s.scenes {
		add(scene, s.takes)
	}
	for _, scene := range s.long {
		add(scene, 1)
	}
	add(visit(), s.guests)
	return all
}
