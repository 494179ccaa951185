package broker

import (
	"math/rand/v2"
	"testing"
)

func TestStretchesAgainstAModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var s stretches
		model := make(map[int64]bool)
		shift := int64(0)
		for range rng.IntN(60) {
			first := rng.Int64N(200) + shift
			next := first + rng.Int64N(20)
			s.add(stretch{first, next})
			for n := first; n < next; n++ {
				model[n] = true
			}
			if rng.IntN(8) == 0 {
				s.tidy()
			}
		}
		s.tidy()
		highest, some := int64(-1), len(model) > 0
		for n := int64(-5); n < 230; n++ {
			if s.has(n) != model[n] {
				t.Fatalf("seed %d: number %d: %v of %v", seed, n, s.has(n), s.list)
			}
			if model[n] {
				highest = n
			}
		}
		if end, ok := s.end(); ok != some || ok && end != highest+1 {
			t.Errorf("seed %d: the end is %d, %v, not %d", seed, end, ok, highest+1)
		}
	}
}

func TestOnlyTheHighestStretchesAreKept(t *testing.T) {
	var s stretches
	const last = 3 * maxStretches
	for n := int64(0); n <= last; n++ {
		s.add(stretch{2 * n, 2*n + 1})
		if len(s.list) > 2*maxStretches {
			t.Fatalf("%d stretches", len(s.list))
		}
	}
	s.tidy()
	if len(s.list) != maxStretches || !s.has(2*last) || s.has(2*last-1) || s.has(0) {
		t.Errorf("%d stretches are kept", len(s.list))
	}
}

// A stream takes little memory, in whichever order its batches come to be stored.
func TestStretchesThatComeOutOfOrderAreJoined(t *testing.T) {
	var s stretches
	for n := int64(0); n < 100_000; n += 4 {
		for _, first := range []int64{n + 2, n, n + 3, n + 1} {
			s.add(stretch{first, first + 1})
		}
	}
	if cap(s.list) > 4*maxLoose {
		t.Errorf("there is room for %d stretches", cap(s.list))
	}
	if s.tidy(); len(s.list) != 1 || s.list[0] != (stretch{0, 100_000}) {
		t.Errorf("got %v", s.list)
	}
}

func TestHigherBitsAreThoseOfTheNearestNumber(t *testing.T) {
	const wrap = int64(1) << 31
	for _, near := range []int64{0, 1, wrap/2 - 1, wrap - 1, wrap, 5*wrap + 7, 1 << 61} {
		for _, distance := range []int64{0, 1, -1, 1000, -1000, wrap/2 - 1, 1 - wrap/2} {
			n := near + distance
			low := n & (wrap - 1)
			if got := low + nearest(low, near); got != n {
				t.Errorf("%d near to %d is taken for %d", n, near, got)
			}
		}
	}
}
