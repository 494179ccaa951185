package broker

import (
	"cmp"
	"slices"
	"sort"
)

// A stretch is the numbers from first up to but not including next.
type stretch struct{ first, next int64 }

// Stretches are a set of numbers. The zero value is empty.
type stretches struct {
	list  []stretch // ascending and apart, unless loose
	loose bool
	apart int // how many there were when they were last in order
}

// add adds numbers. That is cheap where they follow on the highest.
func (s *stretches) add(a stretch) {
	n := len(s.list)
	switch {
	case a.first >= a.next:
		return
	case n > 0 && a.first >= s.list[n-1].first && a.first <= s.list[n-1].next:
		s.list[n-1].next = max(s.list[n-1].next, a.next)
		return
	case n > 0 && a.first < s.list[n-1].first:
		s.loose = true
	}
	if s.list = append(s.list, a); len(s.list) > min(2*s.apart+maxLoose, 2*maxStretches) {
		s.tidy()
	}
}

// tidy joins the stretches and puts them in order.
func (s *stretches) tidy() {
	if s.loose {
		slices.SortFunc(s.list, func(x, y stretch) int { return cmp.Compare(x.first, y.first) })
		joined := s.list[:1]
		for _, a := range s.list[1:] {
			if latest := &joined[len(joined)-1]; a.first <= latest.next {
				latest.next = max(latest.next, a.next)
			} else {
				joined = append(joined, a)
			}
		}
		s.list, s.loose = joined, false
	}
	if over := len(s.list) - maxStretches; over > 0 {
		s.list = append(s.list[:0], s.list[over:]...)
	}
	s.apart = len(s.list)
}

// has says whether a number is in the set, which is tidy.
func (s *stretches) has(n int64) bool {
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].next > n })
	return i < len(s.list) && s.list[i].first <= n
}

// end is the number behind the highest; ok is false if there is none. The set is tidy.
func (s *stretches) end() (next int64, ok bool) {
	if len(s.list) == 0 {
		return 0, false
	}
	return s.list[len(s.list)-1].next, true
}

// shift adds by to all numbers.
func (s *stretches) shift(by int64) {
	for i := range s.list {
		s.list[i].first += by
		s.list[i].next += by
	}
}

// A chain is the messages of a stream that went into one partition while the topic had so
// many of them: the partition follows from the message, its key or its number.
type chain struct{ partitions, partition int }

// A storedSet is which numbers of a stream, from 0, are in their topic.
type storedSet struct {
	exact  stretches         // in whichever partition
	chains map[chain]*linked // beside that: of those messages that belong to the chain
}

// Linked are the numbers up to which a chain is stored. Its batches say the number of
// their last record, and how many there are, but not which: what lies between the last
// record of one and the last record of the next is in the next, unless something is
// missing between them. Then it is sure of the highest only.
type linked struct {
	stretches
	holes int // in the partition, before the latest batch
}

// link adds a batch of a chain, of so many records. holes is how many there are in the
// partition before it.
func (w *storedSet) link(c chain, records int, next int64, holes int) {
	l := w.chains[c]
	if l == nil {
		if w.chains == nil {
			w.chains = make(map[chain]*linked)
		}
		l = new(linked)
		w.chains[c] = l
	}
	first := next - int64(records)
	if l.holes == holes {
		if end, ok := l.end(); ok {
			first = min(first, end)
		} else {
			first = min(first, lowestNumber)
		}
	}
	l.holes = holes
	l.add(stretch{first, next})
}

// holes is how many there were in a chain's partition before its latest batch.
func (w *storedSet) holes(c chain) int {
	if l := w.chains[c]; l != nil {
		return l.holes
	}
	return 0
}

// lowestNumber is below all that a log can say, whose numbers are those of 31 bits until
// it is known what lies above them.
const lowestNumber = -1 << 40

// has says whether a message is stored. place, nil for a message that belongs to no chain,
// is its partition in a topic of so many.
func (w *storedSet) has(n int64, place func(partitions int) int) bool {
	if w.exact.has(n) {
		return true
	}
	if place == nil {
		return false
	}
	for c, l := range w.chains {
		if place(c.partitions) == c.partition && l.has(n) {
			return true
		}
	}
	return false
}

// end is the number behind the highest. The set is tidy.
func (w *storedSet) end() (next int64, ok bool) {
	next, ok = w.exact.end()
	for _, l := range w.chains {
		if end, has := l.end(); has && (!ok || end > next) {
			next, ok = end, true
		}
	}
	return next, ok
}

func (w *storedSet) shift(by int64) {
	w.exact.shift(by)
	for _, l := range w.chains {
		l.shift(by)
	}
}

// clone is a tidy copy.
func (w *storedSet) clone() storedSet {
	w.exact.tidy()
	c := storedSet{exact: stretches{list: slices.Clone(w.exact.list)}, chains: make(map[chain]*linked, len(w.chains))}
	for of, l := range w.chains {
		l.tidy()
		c.chains[of] = &linked{stretches: stretches{list: slices.Clone(l.list)}, holes: l.holes}
	}
	return c
}

// merge adds what another set has.
func (w *storedSet) merge(o storedSet) {
	for _, a := range o.exact.list {
		w.exact.add(a)
	}
}
