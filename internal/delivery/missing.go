package delivery

import "mbus/internal/group"

// Missing is what the client gets an error about: parts of logs of which nothing can be
// read any more.
type missing struct {
	member group.Member // holds them
	holes  []hole
}

// A hole is a part of a log.
type hole struct {
	pos  *group.Position
	span group.Span
}

func (m *missing) add(pos *group.Position, s group.Span) { m.holes = append(m.holes, hole{pos, s}) }

func (m *missing) isEmpty() bool { return len(m.holes) == 0 }

// report returns the error, which says that there is nothing up to next, so that the
// position moves there when the client has read that; nil if another member reports it.
func (m *missing) report(p *partition, free group.Span, next int64, err error) error {
	if next > free.From && !m.member.Lease(p.pos, group.Span{From: free.From, To: min(free.To, next)}, 0) {
		return nil
	}
	m.add(p.pos, group.Span{From: free.From, To: next})
	return err
}

// passed says that the client knows of what is missing: of all that nobody holds there, so
// that it gets the error once.
func (m *missing) passed() {
	m.member.AckAll()
	for _, h := range m.holes {
		h.pos.ConsumeMissing(h.span)
	}
}
