package group

import "slices"

// ConsumeMissing says that the log has nothing in s any more, and that a client knows
// that: all that no member holds there counts as consumed, also what waits for another attempt
// or behind one with its key.
func (p *Position) ConsumeMissing(s Span) {
	p.mu.Lock()
	if s.From = max(s.From, p.committed); s.From >= s.To {
		p.mu.Unlock()
		return
	}
	p.dropQueued(s)
	spans := p.ownerless(s)
	for _, o := range spans {
		if p.replace(o, &p.failed, nil, true) || p.replace(o, &p.queued, nil, true) {
			p.parked -= int(o.Len())
		} else {
			p.take(o, nil)
		}
	}
	for _, o := range spans {
		p.consumed(o)
		p.unlockKeys(o)
	}
	p.finish(true) // what is behind those that waited, too, if they were as many as may
}

// ownerless lists the parts of s that no member holds, and nobody has acknowledged, those
// of one kind together. The caller holds mu.
func (p *Position) ownerless(s Span) (spans []Span) {
	from := s.From
	for _, h := range p.held[p.at(s.From):] {
		if h.From >= s.To {
			break
		}
		if from < h.From {
			spans = append(spans, Span{from, h.From})
		}
		if h.by == &p.failed || h.by == &p.queued {
			spans = append(spans, Span{max(h.From, s.From), min(h.To, s.To)})
		}
		from = h.To
	}
	if from < s.To {
		spans = append(spans, Span{from, s.To})
	}
	return spans
}

// dropQueued takes messages in s out of the queues behind their keys. The caller holds mu,
// and their spans are still to be settled.
func (p *Position) dropQueued(s Span) {
	if p.order == nil {
		return
	}
	for _, q := range p.order.keys {
		q.rest = slices.DeleteFunc(q.rest, func(o int64) bool { return s.From <= o && o < s.To })
	}
}
