package group

import (
	"cmp"
	"slices"
)

// A Held span is messages that a member has, and has not settled.
type Held struct {
	Key
	Span
	Client  string // as Member.SetClient says
	Attempt int    // of the first message: its failures and 1
}

// SetClient says for whom the member holds messages. It is called before the first Lease.
func (m *Member) SetClient(client string) { m.client = client }

// Held lists what the members of a group hold, by topic, partition and offset; max spans at the most.
func (g *Groups) Held(name string, max int) (all []Held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sets[name]
	if s == nil {
		return nil
	}
	for _, p := range s.positions {
		all = heldOf(p, all, max)
	}
	slices.SortFunc(all, func(a, b Held) int { return cmp.Or(a.compare(b.Key), cmp.Compare(a.From, b.From)) })
	return all
}

func heldOf(p *Position, all []Held, max int) []Held {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.leases.spans {
		if len(all) == max {
			break
		}
		if l.by != nil && !isParked(l.by) {
			all = append(all, Held{p.key, l.Span, l.by.client, p.failures.attempts[l.From] + 1})
		}
	}
	return all
}

// IsConsumed reports whether the message at an offset counts as consumed: it lies below the committed offset of the
// position that k names, or was acknowledged above it.
func (g *Groups) IsConsumed(k Key, offset int64) bool {
	g.mu.Lock()
	p := g.find(k)
	g.mu.Unlock()
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.leases.at(offset)
	return offset < p.leases.committed || i < len(p.leases.spans) && p.leases.spans[i].From <= offset && p.leases.spans[i].by == nil
}
