package group

import "slices"

// Leases are the committed offset of a position, below which everything has been consumed, and
// the spans above it that are not free. The position's mu guards them.
type leases struct {
	committed int64
	spans     []lease // ascending, not overlapping, above committed
	parked    int     // offsets held by failed and queued
}

// A lease is a span that is leased to a member or, with none, acknowledged.
type lease struct {
	Span
	by *Member
}

// Holders that are no connections.
var (
	failed = new(Member) // holds messages that have failed, until they may be delivered again
	queued = new(Member) // holds messages behind one with the same key
)

// isParked reports whether what m holds waits for something.
func isParked(m *Member) bool { return m == failed || m == queued }

// at is the index of the first span that ends behind offset.
func (l *leases) at(offset int64) int {
	i, _ := slices.BinarySearchFunc(l.spans, offset, func(x lease, o int64) int {
		if x.To <= o {
			return -1
		}
		return 1
	})
	return i
}

// take gives s to m and reports false if it is not free.
func (l *leases) take(s Span, m *Member) bool {
	if s.From < l.committed || s.To <= s.From {
		return false
	}
	i := l.at(s.From)
	if i < len(l.spans) && l.spans[i].From < s.To {
		return false
	}
	if isParked(m) {
		l.parked += int(s.Len())
	}
	if i > 0 && l.spans[i-1].by == m && l.spans[i-1].To == s.From {
		l.spans[i-1].To = s.To
		return true
	}
	l.spans = slices.Insert(l.spans, i, lease{s, m})
	return true
}

// transfer gives the parts of s that are held by one member to another. It reports whether
// there were any.
func (l *leases) transfer(s Span, from, to *Member) bool { return l.replace(s, from, to, true) }

// free frees the parts of s that are held by m. It reports whether there were any.
func (l *leases) free(s Span, m *Member) bool { return l.replace(s, m, nil, false) }

// replace is transfer, or, if keep is false, free.
func (l *leases) replace(s Span, from, to *Member, keep bool) (found bool) {
	for i := l.at(s.From); i < len(l.spans) && l.spans[i].From < s.To; {
		if l.spans[i].by != from {
			i++
			continue
		}
		found = true
		i = l.cut(i, s)
		if isParked(from) {
			l.parked -= int(l.spans[i].Len())
		}
		if !keep {
			l.spans = slices.Delete(l.spans, i, i+1)
			continue
		}
		if isParked(to) {
			l.parked += int(l.spans[i].Len())
		}
		l.spans[i].by = to
		i++
	}
	return found
}

// cut splits the span i so that the part within s is one of its own, and returns its index.
func (l *leases) cut(i int, s Span) int {
	x := l.spans[i]
	if x.From < s.From {
		l.spans[i].To = s.From
		i++
		l.spans = slices.Insert(l.spans, i, lease{Span{s.From, x.To}, x.by})
	}
	if x.To > s.To {
		l.spans[i].To = s.To
		l.spans = slices.Insert(l.spans, i+1, lease{Span{s.To, x.To}, x.by})
	}
	return i
}

// advance joins spans of one holder that touch s or lie in it, and moves the committed
// offset over the acknowledged ones that follow it.
func (l *leases) advance(s Span) {
	first := max(0, l.at(s.From)-1) // the one before
	last, kept := first, l.spans[:first]
	for ; last < len(l.spans) && l.spans[last].From <= s.To; last++ {
		x := l.spans[last]
		if i := len(kept) - 1; i >= first && kept[i].by == x.by && kept[i].To == x.From {
			kept[i].To = x.To
		} else {
			kept = append(kept, x)
		}
	}
	l.spans = slices.Delete(l.spans, len(kept), last)
	done := 0
	for ; done < len(l.spans) && l.spans[done].by == nil && l.spans[done].From <= l.committed; done++ {
		l.committed = max(l.committed, l.spans[done].To)
	}
	l.spans = slices.Delete(l.spans, 0, done)
}

// holds reports whether m holds offset.
func (l *leases) holds(m *Member, offset int64) bool {
	i := l.at(offset)
	return i < len(l.spans) && l.spans[i].From <= offset && l.spans[i].by == m
}

// holdsAny reports whether m holds anything.
func (l *leases) holdsAny(m *Member) bool {
	return slices.ContainsFunc(l.spans, func(x lease) bool { return x.by == m })
}

// leasedToAny reports whether any member holds something, or something is parked.
func (l *leases) leasedToAny() bool {
	return slices.ContainsFunc(l.spans, func(x lease) bool { return x.by != nil })
}

// leasedToOthers reports whether another than m holds something below end.
func (l *leases) leasedToOthers(m *Member, end int64) bool {
	return slices.ContainsFunc(l.spans, func(x lease) bool { return x.by != nil && x.by != m && x.From < end })
}

// lowest is the lowest free offsets, below end; empty if there are none.
func (l *leases) lowest(end int64) Span {
	if l.parked >= maxParked {
		end = min(end, l.lastParked())
	}
	from := l.committed
	for _, x := range l.spans {
		if x.From > from {
			end = min(end, x.From)
			break
		}
		from = x.To
	}
	return Span{from, max(from, end)}
}

// lastParked is the highest offset that is parked.
func (l *leases) lastParked() int64 {
	for _, x := range slices.Backward(l.spans) {
		if isParked(x.by) {
			return x.To - 1
		}
	}
	return l.committed
}

// ownerless lists the parts of s that no member holds, and nobody has acknowledged, those
// of one kind together.
func (l *leases) ownerless(s Span) (spans []Span) {
	from := s.From
	for _, x := range l.spans[l.at(s.From):] {
		if x.From >= s.To {
			break
		}
		if from < x.From {
			spans = append(spans, Span{from, x.From})
		}
		if isParked(x.by) {
			spans = append(spans, Span{max(x.From, s.From), min(x.To, s.To)})
		}
		from = x.To
	}
	if from < s.To {
		spans = append(spans, Span{from, s.To})
	}
	return spans
}

// reopen frees a message that was consumed, and reports false if it was not.
func (l *leases) reopen(offset int64) bool {
	s := Span{offset, offset + 1}
	if offset >= l.committed {
		return l.free(s, nil)
	}
	if above := (Span{s.To, l.committed}); above.Len() > 0 {
		l.spans = slices.Insert(l.spans, 0, lease{above, nil})
	}
	l.committed = offset
	return true
}

// ackedAhead lists the lowest spans that were acknowledged above the committed offset, most
// at most.
func (l *leases) ackedAhead(most int) (all []Span) {
	for _, x := range l.spans {
		if x.by == nil && len(all) < most {
			all = append(all, x.Span)
		}
	}
	return all
}

// runs is the number of spans that were acknowledged above the committed offset.
func (l *leases) runs() (n int) {
	for _, x := range l.spans {
		if x.by == nil {
			n++
		}
	}
	return n
}

// count adds the offsets that are not free to those of an administrator.
func (l *leases) count(n *Numbers) {
	for _, x := range l.spans {
		switch {
		case x.by == nil:
			n.AckedAhead += x.Len()
		case isParked(x.by):
			n.Waiting += x.Len()
		default:
			n.Unacknowledged += x.Len()
		}
	}
}
