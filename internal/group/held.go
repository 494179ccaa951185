package group

import "slices"

// A held span is leased to a member or, with none, acknowledged.
type held struct {
	Span
	by *Member
}

// at is the index of the first held span that ends behind offset. The caller
// holds mu, as for all that follows here.
func (p *Position) at(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.held, offset, func(h held, o int64) int {
		if h.To <= o {
			return -1
		}
		return 1
	})
	return i
}

// take gives s to m and reports false if it is not free.
func (p *Position) take(s Span, m *Member) bool {
	if s.From < p.committed || s.To <= s.From {
		return false
	}
	i := p.at(s.From)
	if i < len(p.held) && p.held[i].From < s.To {
		return false
	}
	if i > 0 && p.held[i-1].by == m && p.held[i-1].To == s.From {
		p.held[i-1].To = s.To
		return true
	}
	p.held = slices.Insert(p.held, i, held{s, m})
	return true
}

// replace gives the parts of s that are held by one member to another, or frees
// them if keep is false. It reports whether there were any.
func (p *Position) replace(s Span, from, to *Member, keep bool) (found bool) {
	for i := p.at(s.From); i < len(p.held) && p.held[i].From < s.To; {
		if p.held[i].by != from {
			i++
			continue
		}
		found = true
		i = p.cut(i, s)
		if keep {
			p.held[i].by = to
			i++
		} else {
			p.held = slices.Delete(p.held, i, i+1)
		}
	}
	return found
}

// cut splits the held span i so that the part within s is one of its own, and
// returns its index.
func (p *Position) cut(i int, s Span) int {
	h := p.held[i]
	if h.From < s.From {
		p.held[i].To = s.From
		i++
		p.held = slices.Insert(p.held, i, held{Span{s.From, h.To}, h.by})
	}
	if h.To > s.To {
		p.held[i].To = s.To
		p.held = slices.Insert(p.held, i+1, held{Span{s.To, h.To}, h.by})
	}
	return i
}

// advance joins spans of one holder that touch s or lie in it, and moves the committed
// offset over the acknowledged ones that follow it.
func (p *Position) advance(s Span) {
	first := max(0, p.at(s.From)-1) // the one before
	last, kept := first, p.held[:first]
	for ; last < len(p.held) && p.held[last].From <= s.To; last++ {
		h := p.held[last]
		if i := len(kept) - 1; i >= first && kept[i].by == h.by && kept[i].To == h.From {
			kept[i].To = h.To
		} else {
			kept = append(kept, h)
		}
	}
	p.held = slices.Delete(p.held, len(kept), last)
	done := 0
	for ; done < len(p.held) && p.held[done].by == nil && p.held[done].From <= p.committed; done++ {
		p.committed = max(p.committed, p.held[done].To)
	}
	p.held = slices.Delete(p.held, 0, done)
}

// holder says whether m holds offset.
func (p *Position) holder(m *Member, offset int64) bool {
	i := p.at(offset)
	return i < len(p.held) && p.held[i].From <= offset && p.held[i].by == m
}
