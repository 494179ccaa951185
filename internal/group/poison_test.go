package group_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mbus/internal/group"
)

// Workers take messages in order, acknowledge good ones one at a time or several at once,
// and die of poison whenever they come to it. However large their windows are, each poison
// is dead after exactly as many attempts as it may have, and no attempt is counted
// against a good message.
func TestPoisonIsDeadAfterItsAttemptsAndCostsNoOtherMessageAny(t *testing.T) {
	for n := range uint64(300) {
		rng := rand.New(rand.NewPCG(n, 2))
		s := &poisoned{
			rng: rng, pos: group.NewPosition(0), now: timeZero, end: 1 + rng.Int64N(40),
			retry: group.Retry{Backoff: time.Second, Bound: 4 * time.Second, Attempts: 1 + rng.IntN(4)},
		}
		for o := range s.end {
			if rng.IntN(5) == 0 {
				s.poison = append(s.poison, o)
			}
		}
		if err := s.run(); err != nil {
			t.Fatalf("seed %d, poison %v, %d attempts: %v", n, s.poison, s.retry.Attempts, err)
		}
	}
}

// A poisoned position is worked on until all of it is consumed.
type poisoned struct {
	rng    *rand.Rand
	pos    *group.Position
	now    time.Time
	end    int64
	poison []int64
	retry  group.Retry
	deaths map[int64]int
	dead   []int64
}

func (s *poisoned) run() error {
	s.deaths = make(map[int64]int)
	for rounds := 0; s.pos.Committed() < s.end; rounds++ {
		if rounds > 10_000 {
			return fmt.Errorf("there is no end: committed is %d of %d", s.pos.Committed(), s.end)
		}
		if err := s.live(); err != nil {
			return err
		}
		for _, f := range s.pos.FailuresIn(group.Span{To: s.end}) {
			if f.Attempts != s.deaths[f.Offset] {
				return fmt.Errorf("%d attempts are counted of %d, and %d workers died", f.Attempts, f.Offset, s.deaths[f.Offset])
			}
		}
	}
	slices.Sort(s.dead)
	if !slices.Equal(s.dead, s.poison) {
		return fmt.Errorf("dead are %v", s.dead)
	}
	for _, o := range s.poison {
		if s.deaths[o] != s.retry.Attempts {
			return fmt.Errorf("%d workers died of %d", s.deaths[o], o)
		}
	}
	return nil
}

// live is the life of one worker: up to a poison, or until nothing is free.
func (s *poisoned) live() error {
	var m group.Member
	var mine []int64
	window := 1 + s.rng.IntN(10)
	for done := 0; ; done++ {
		for len(mine) < done+window {
			span, due := s.pos.Free(s.end, s.now)
			span.To = min(span.To, span.From+int64(done+window-len(mine)))
			if span.Len() == 0 && len(mine) > done {
				break
			}
			if span.Len() == 0 { // nothing to do but to wait
				m.Release()
				if !due.IsZero() {
					s.now = due
				}
				return nil
			}
			if !m.Lease(s.pos, span, 1) {
				return fmt.Errorf("%v is free and can't be had", span)
			}
			for o := span.From; o < span.To; o++ {
				mine = append(mine, o)
			}
		}
		if o := mine[done]; slices.Contains(s.poison, o) {
			return s.die(&m, o)
		}
		var err error
		switch n := uint64(done) + 1; s.rng.IntN(3) {
		case 0:
			err = m.Ack(n)
		default:
			_, err = m.AckSome(n, n)
		}
		if err != nil {
			return err
		}
	}
}

func (s *poisoned) die(m *group.Member, of int64) error {
	s.deaths[of]++
	f, ok := m.Lose(s.retry, s.now)
	if !ok || f.Offset != of || f.Attempts != s.deaths[of] {
		return fmt.Errorf("a worker died of %d, and failed has %+v", of, f)
	}
	if f.Dead {
		s.dead = append(s.dead, of)
		s.pos.Bury(of)
	}
	return nil
}
