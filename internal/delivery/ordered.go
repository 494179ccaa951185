package delivery

import (
	"hash/maphash"

	"mbus/internal/batch"
	"mbus/internal/group"
)

var keySeed = maphash.MakeSeed()

// sendOrdered is send for a group that is ordered by key. The stretch is free; of what
// is in it those messages are sent whose keys have no earlier one that is
// unacknowledged.
func (s *sender) sendOrdered(p *partition, x stretch) error {
	l := &s.loader
	at := x.runs[0].From
	if x.From < at && !p.pos.Skip(group.Span{From: x.From, To: at}) {
		return nil // another member was faster
	}
	for at < x.To {
		b, rest, err := batch.Next(l.loaded)
		if err != nil {
			return nil // given up while the reader stalled
		}
		if b.NextOffset() <= at {
			l.loaded = rest
			continue
		}
		if err := l.beginSlot(b); err != nil {
			return err
		}
		run, next, err := s.claim(p, b, &x, at)
		if err != nil {
			err = undecodable(s.sub.topic.Name, p.number, b.BaseOffset(), b.NextOffset(), err)
			if run.Len() == 0 {
				return s.sub.unreadable(p, group.Span{From: at, To: x.To}, err)
			}
			return s.sub.undecodable(p, at, err)
		}
		if run.Len() > 0 {
			loaded, loads := l.loaded, l.loads
			s.sub.served(p)
			if err := s.send(p, run); err != nil {
				return err
			}
			if l.loads != loads || l.loaded == nil {
				break // the reader stalled, and loaded is something else now
			}
			l.loaded = loaded
		}
		if next == at {
			break // another member was faster
		}
		at = next
	}
	return nil
}

// claim leases the first messages in a row of a batch, from offset at of the stretch on, that
// the member can have, and returns them and where to go on.
func (s *sender) claim(p *partition, b batch.Batch, x *stretch, at int64) (run group.Span, next int64, err error) {
	run = group.Span{From: at, To: at}
	l, member := &s.loader, &s.sub.member
	defer l.endSlot()
	if err := l.expand(b); err != nil {
		return run, at, err
	}
	size := int64(len(b)) / int64(max(1, b.Count()))
	for l.it.Next() {
		r := l.it.Record()
		if r.Offset < at {
			continue
		}
		if r.Offset >= x.To {
			break
		}
		one := group.Span{From: r.Offset, To: x.holeBehind(r.Offset)}
		var got, free bool
		if r.Key == nil {
			got = member.LeaseRecords(p.pos, one, []group.Span{{From: r.Offset, To: r.Offset + 1}}, size)
			free = got
		} else {
			got, free = member.Claim(p.pos, one, maphash.Bytes(keySeed, r.Key), size)
		}
		switch {
		case !free:
			return run, run.To, nil
		case got:
			run.To = one.To
		case run.Len() > 0:
			return run, one.To, nil
		default:
			run = group.Span{From: one.To, To: one.To}
		}
	}
	return run, run.To, l.it.Err()
}
