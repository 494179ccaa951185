package line

import (
	"hash/maphash"

	"mbus/internal/batch"
	"mbus/internal/group"
)

var keySeed = maphash.MakeSeed()

// sendOrdered is send for a group that is ordered by key. The stretch is free; of what
// is in it those messages are sent whose keys have no earlier one that is
// unacknowledged.
func (k *consumer) sendOrdered(p *part, s stretch) error {
	at := s.runs[0].From
	if s.From < at && !p.pos.Skip(group.Span{From: s.From, To: at}) {
		return nil // another member was faster
	}
	for at < s.To {
		b, rest, err := batch.Next(k.loaded)
		if err != nil {
			return nil // given up while the reader stalled
		}
		if b.NextOffset() <= at {
			k.loaded = rest
			continue
		}
		if err := k.beginTurn(b); err != nil {
			return err
		}
		run, next, err := k.claim(p, b, &s, at)
		if err != nil {
			err = k.sender.undecodable(p.number, b.BaseOffset(), b.NextOffset(), err)
			if run.Len() == 0 {
				return k.unreadable(p, group.Span{From: at, To: s.To}, err)
			}
			return k.undecodable(p, at, err)
		}
		if run.Len() > 0 {
			loaded, loads := k.loaded, k.loads
			k.served(p)
			if err := k.send(p, run); err != nil {
				return err
			}
			if k.loads != loads || k.loaded == nil {
				break // the reader stalled, and loaded is something else now
			}
			k.loaded = loaded
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
func (k *consumer) claim(p *part, b batch.Batch, s *stretch, at int64) (run group.Span, next int64, err error) {
	run = group.Span{From: at, To: at}
	defer k.endTurn()
	if err := k.expand(b); err != nil {
		return run, at, err
	}
	size := int64(len(b)) / int64(max(1, b.Count()))
	for k.it.Next() {
		r := k.it.Record()
		if r.Offset < at {
			continue
		}
		if r.Offset >= s.To {
			break
		}
		one := group.Span{From: r.Offset, To: s.holeBehind(r.Offset)}
		var got, free bool
		if r.Key == nil {
			got = k.member.LeaseRecords(p.pos, one, []group.Span{{From: r.Offset, To: r.Offset + 1}}, size)
			free = got
		} else {
			got, free = k.member.Claim(p.pos, one, maphash.Bytes(keySeed, r.Key), size)
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
	return run, run.To, k.it.Err()
}
