package line

import (
	"hash/maphash"

	"mbus/internal/batch"
	"mbus/internal/group"
)

var keySeed = maphash.MakeSeed()

// sendOrdered is send for a group that is ordered by key. span is free; of what
// is in it those messages are sent whose keys have no earlier one that is
// unacknowledged. It returns how many it has dealt with.
func (k *consumer) sendOrdered(p *part, span group.Span) (int64, error) {
	at := span.From
	for at < span.To {
		b, rest, err := batch.Next(k.loaded)
		if err != nil {
			return at - span.From, nil // given up while the reader stalled
		}
		if b.NextOffset() <= at {
			k.loaded = rest
			continue
		}
		if err := k.beginTurn(b); err != nil {
			return 0, err
		}
		run, next, err := k.claim(p, b, group.Span{From: at, To: min(span.To, b.NextOffset())})
		if err != nil {
			return 0, k.undecodable(p, at, k.sender.undecodable(p.number, b.BaseOffset(), b.NextOffset(), err))
		}
		if run.Len() > 0 {
			loaded, loads := k.loaded, k.loads
			k.served(p)
			if err := k.send(p, run); err != nil {
				return 0, err
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
	return max(1, at-span.From), nil
}

// claim leases the first messages in a row of the span that the member can have,
// and returns them and where to go on.
func (k *consumer) claim(p *part, b batch.Batch, span group.Span) (run group.Span, next int64, err error) {
	run = group.Span{From: span.From, To: span.From}
	defer k.endTurn()
	if err := k.expand(b); err != nil {
		return run, span.From, err
	}
	size := int64(len(b)) / int64(max(1, b.Count()))
	for k.it.Next() {
		r := k.it.Record()
		if r.Offset < span.From {
			continue
		}
		if r.Offset >= span.To {
			break
		}
		var got, free bool
		if r.Key == nil {
			got = k.member.Lease(p.pos, group.Span{From: r.Offset, To: r.Offset + 1}, size)
			free = got
		} else {
			got, free = k.member.Claim(p.pos, group.Span{From: r.Offset, To: r.Offset + 1}, maphash.Bytes(keySeed, r.Key), size)
		}
		switch {
		case !free:
			return run, run.To, nil
		case got:
			run.To = r.Offset + 1
		case run.Len() > 0:
			return run, r.Offset + 1, nil
		default:
			run = group.Span{From: r.Offset + 1, To: r.Offset + 1}
		}
	}
	return run, run.To, k.it.Err()
}
