package delivery

import "mbus/internal/group"

// Missing is the parts of logs that can't be read any more, about which the client gets an
// error.
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

// report returns err, which says that there is nothing up to next. The position moves there when
// the client has read it. It returns nil if another member reports that.
func (m *missing) report(p *partition, free group.Span, next int64, err error) error {
	if next > free.From && !m.member.Lease(p.pos, group.Span{From: free.From, To: min(free.To, next)}, 0) {
		return nil
	}
	m.add(p.pos, group.Span{From: free.From, To: next})
	return err
}

// passed says that the client has the error: all missing offsets that nobody holds are consumed,
// so that it gets the error once.
func (m *missing) passed() {
	m.member.AckAll()
	for _, h := range m.holes {
		h.pos.ConsumeMissing(h.span)
	}
}
