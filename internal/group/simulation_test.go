package group_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"mbus/internal/group"
)

var (
	seed  = flag.Uint64("seed", 0, "simulate only this seed")
	seeds = flag.Uint64("seeds", 2000, "how many seeds to simulate")
)

// Members lease, acknowledge, give back and vanish at random, the journal takes
// its time, and the broker is killed and started again. After each step the
// position is compared with a model.
func TestSimulatedMembersLoseNothingAndShareNothing(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	restarts := 0
	for n := first; n <= last; n++ {
		s := newSimulation(n)
		if err := s.run(); err != nil {
			t.Fatalf("%v\nagain: go test ./internal/group -run %s -seed %d", err, t.Name(), n)
		}
		restarts += s.restarts
	}
	if *seed == 0 && restarts < int(*seeds) {
		t.Errorf("only %d restarts in %d simulations", restarts, *seeds)
	}
}

// A simulation is a position and what the model knows of it: for each offset
// who holds it.
type simulation struct {
	rng     *rand.Rand
	groups  *group.Groups
	pos     *group.Position
	members []*group.Member

	owner     []*group.Member // nil for nobody, acked for nobody any more
	committed int64           // the highest seen in this life
	stale     group.Span      // of an earlier Free

	durable  group.State  // what a restart finds for sure
	writing  *group.State // and perhaps this one
	last     group.State  // that was written
	done     func(error)  // its completion
	waits    []waitFor    // channels of Others
	restarts int
	problem  error // seen by the journal
}

type waitFor struct {
	changed <-chan struct{}
	woken   bool // it must be closed by now
	m       *group.Member
}

var acked = new(group.Member)

func newSimulation(seed uint64) *simulation {
	s := &simulation{rng: rand.New(rand.NewPCG(seed, 1))}
	s.start()
	return s
}

// start begins a life with what is durable.
func (s *simulation) start() {
	s.groups = group.New(s.write)
	if s.durable.Offset > 0 || len(s.durable.Beyond) > 0 {
		s.groups.Load(theKey, s.durable)
	}
	s.pos = s.groups.Position(theKey)
	s.members, s.waits, s.stale = nil, nil, group.Span{}
	for range 2 + s.rng.IntN(3) {
		s.members = append(s.members, new(group.Member))
	}
	s.committed = 0
}

// write is the journal: one write at a time, durable when complete says so.
func (s *simulation) write(_ group.Key, state group.State, done func(error)) {
	if s.done != nil {
		s.problem = fmt.Errorf("a write of %v while one of %v is under way", state, *s.writing)
	}
	s.writing, s.last, s.done = &state, state, done
	if s.rng.IntN(4) == 0 {
		s.complete()
	}
}

func (s *simulation) complete() {
	if s.done == nil {
		return
	}
	done, err := s.done, error(nil)
	if s.rng.IntN(10) == 0 {
		err = fmt.Errorf("not kept")
	} else {
		s.durable = *s.writing
	}
	s.done, s.writing = nil, nil
	done(err)
}

func (s *simulation) run() error {
	for i := range 150 {
		what, err := s.step()
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i, what, err)
		}
	}
	if err := s.finish(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

func (s *simulation) step() (string, error) {
	m := s.members[s.rng.IntN(len(s.members))]
	switch n := s.rng.IntN(100); {
	case n < 20:
		s.owner = append(s.owner, make([]*group.Member, s.rng.IntN(8))...)
		return "messages come", nil
	case n < 50:
		return "lease", s.lease(m)
	case n < 65:
		s.give(m, 0, acked)
		s.pos.Ack(m)
		return "ack", nil
	case n < 73:
		s.give(m, 0, nil)
		s.pos.Release(m)
		return "release", nil
	case n < 80:
		from := s.rng.Int64N(s.end() + 1)
		s.give(m, from, nil)
		s.pos.GiveBack(m, from)
		return fmt.Sprintf("give back from %d", from), nil
	case n < 88:
		s.complete()
		return "journal", nil
	case n < 96:
		return "others", s.others(m)
	}
	return "restart", s.restart()
}

func (s *simulation) end() int64 { return int64(len(s.owner)) }

// lease takes a part of what is free, or something that may not be.
func (s *simulation) lease(m *group.Member) error {
	span := s.pos.Free(s.end())
	switch s.rng.IntN(4) {
	case 0:
		span, s.stale = s.stale, span
	case 1:
		span.To = min(span.To, span.From+1+s.rng.Int64N(4))
	case 2:
		span.From += s.rng.Int64N(3)
		span.To = min(s.end(), span.To+s.rng.Int64N(2))
	}
	free := span.From < span.To
	for o := span.From; o < span.To; o++ {
		free = free && s.owner[o] == nil
	}
	if got := s.pos.Lease(m, span); got != free {
		return fmt.Errorf("lease of %v: %v, but free is %v", span, got, free)
	}
	if free {
		for o := span.From; o < span.To; o++ {
			s.owner[o] = m
		}
	}
	return nil
}

// give passes on what m holds from offset on.
func (s *simulation) give(m *group.Member, from int64, to *group.Member) {
	found := false
	for o, by := range s.owner {
		if by == m {
			found = true
			if int64(o) >= from {
				s.owner[o] = to
			}
		}
	}
	for i := range s.waits {
		s.waits[i].woken = s.waits[i].woken || found && s.waits[i].m != m
	}
}

func (s *simulation) others(m *group.Member) error {
	end := s.rng.Int64N(s.end() + 1)
	somebody := false
	for _, by := range s.owner[:end] {
		somebody = somebody || by != nil && by != m && by != acked
	}
	changed := s.pos.Others(m, end)
	if (changed != nil) != somebody {
		return fmt.Errorf("others below %d: %v, but %v", end, changed != nil, somebody)
	}
	if changed != nil {
		s.waits = append(s.waits, waitFor{changed: changed, m: m})
	}
	return nil
}

// restart kills the broker. A write that is under way is durable, or is not.
func (s *simulation) restart() error {
	s.restarts++
	if s.writing != nil && s.rng.IntN(2) == 0 {
		s.durable = *s.writing
	}
	s.writing, s.done = nil, nil
	kept := make([]*group.Member, len(s.owner))
	mark := func(from, to int64) error {
		for o := from; o < to; o++ {
			if o >= s.end() || s.owner[o] != acked {
				return fmt.Errorf("%v is kept, but %d was not acknowledged", s.durable, o)
			}
			kept[o] = acked
		}
		return nil
	}
	if err := mark(0, s.durable.Offset); err != nil {
		return err
	}
	for _, b := range s.durable.Beyond {
		if err := mark(b.From, b.To); err != nil {
			return err
		}
	}
	s.owner = kept
	s.start()
	return nil
}

// check compares the position with the model.
func (s *simulation) check() error {
	if s.problem != nil {
		return s.problem
	}
	committed, free := s.end(), group.Span{From: s.end(), To: s.end()}
	for o := s.end() - 1; o >= 0; o-- {
		if s.owner[o] != acked {
			committed = o
		}
		if s.owner[o] == nil {
			if o+1 != free.From || free.From == s.end() {
				free.To = o + 1
			}
			free.From = o
		}
	}
	if got := s.pos.Committed(); got != committed || got < s.committed {
		return fmt.Errorf("committed is %d, was %d, should be %d", got, s.committed, committed)
	}
	s.committed = committed
	if got := s.pos.Free(s.end()); got != free && (got.From < got.To || free.From < free.To) {
		return fmt.Errorf("free is %v, should be %v", got, free)
	}
	for _, w := range s.waits {
		select {
		case <-w.changed:
		default:
			if w.woken {
				return fmt.Errorf("nobody was woken")
			}
		}
	}
	return nil
}

// finish takes everything that is left: nothing is lost, and all is kept.
func (s *simulation) finish() error {
	for _, m := range s.members {
		s.give(m, 0, nil)
		s.pos.Release(m)
	}
	s.owner = append(s.owner, nil) // so that there is something to write
	m := s.members[0]
	for span := s.pos.Free(s.end()); span.From < span.To; span = s.pos.Free(s.end()) {
		if !s.pos.Lease(m, span) {
			return fmt.Errorf("lease of %v is refused", span)
		}
		for o := span.From; o < span.To; o++ {
			if s.owner[o] != nil {
				return fmt.Errorf("%d is given out again", o)
			}
			s.owner[o] = m
		}
	}
	s.give(m, 0, acked)
	s.pos.Ack(m)
	if err := s.check(); err != nil {
		return err
	}
	for s.done != nil {
		s.complete()
	}
	if s.committed != s.end() || s.last.Offset != s.end() || len(s.last.Beyond) > 0 {
		return fmt.Errorf("committed is %d, kept %v at %d messages", s.committed, s.last, s.end())
	}
	return nil
}
