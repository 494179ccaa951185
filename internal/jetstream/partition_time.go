package jetstream

import (
	"mbus/internal/batch"
)

// OffsetForTime implements store.Partition. It looks for the section by the latest times of all, then
// for the message within it.
func (p *partition) OffsetForTime(time int64) (int64, error) {
	for {
		t, ended := p.appends.end()
		if ended != nil {
			return 0, ended
		}
		v := t.view()
		offset, err := p.searchTime(time, v, &t)
		if now, ended := p.visible.view(); ended != nil {
			return 0, ended
		} else if now.start != v.start && (err != nil || offset < now.start) {
			continue // what it went by was removed
		}
		return offset, err
	}
}

func (p *partition) searchTime(time int64, v view, t *tail) (int64, error) {
	list, err := p.sections.extents(v, t)
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		if e.latest < time || e.end <= v.start || e.bytes == 0 {
			continue
		}
		offset, ok, err := p.timeWithin(time, e, v)
		if ok || err != nil {
			return offset, err
		}
	}
	return v.high, nil
}

// timeWithin gives the offset of the first batch of a section with a record as late as time. The
// section may have had it below the log start offset.
func (p *partition) timeWithin(time int64, e extent, v view) (int64, bool, error) {
	first, err := p.messages.holding(e.base, v)
	if err != nil {
		return 0, false, err
	}
	from := first.seq
	to := v.last + 1
	if e.end < v.high {
		behind, err := p.messages.holding(e.end, v)
		if err != nil {
			return 0, false, err
		}
		to = behind.seq
	}
	m, err := p.messages.lastTrue(from, to, func(m *message) bool { return m.latest < time && m.base < e.end })
	if err != nil {
		return 0, false, err
	}
	if m == nil || m.base < first.base {
		m = first
	}
	for offset := m.base; offset < e.end; {
		if m, err = p.messages.holding(offset, v); err != nil {
			return 0, false, err
		}
		for rest := m.data; len(rest) > 0; {
			var b batch.Batch
			if b, rest, err = batch.Next(rest); err != nil {
				return 0, false, err
			}
			if b.MaxTimestamp() >= time && b.NextOffset() > v.start {
				return max(v.start, b.BaseOffset()), true, nil
			}
		}
		offset = m.next
	}
	return 0, false, nil
}

// Tail implements store.Partition. It reads the heads of the sections that have the last n bytes, and
// looks for a message within the first of them.
func (p *partition) Tail(n int64) (int64, error) {
	t, ended := p.appends.end()
	if ended != nil {
		return 0, ended
	}
	v := t.view()
	if v.pos-v.removed <= n || v.start == v.high {
		return v.start, nil
	}
	at := v.pos - n
	from, to := uint64(1), v.last+1
	if near, next, okAt, okNext := p.messages.points.around(func(x point) bool { return x.pos > at }); okAt || okNext {
		if okAt {
			from = near.seq
		}
		if okNext {
			to = next.seq
		}
	}
	m, err := p.messages.lastTrue(from, to, func(m *message) bool { return m.pos <= at })
	if now, ended := p.visible.view(); ended != nil {
		return 0, ended
	} else if m == nil || err != nil {
		return now.start, err
	} else {
		return min(max(now.start, m.base), v.high), nil
	}
}
