package jetstream

import (
	"errors"

	"mbus/internal/store"
)

// view is what is visible when all up to the tail is.
func (t *tail) view() view { return view{t.start, t.removed, t.next, t.pos, t.seq} }

// Trim implements store.Partition. Appends go on meanwhile.
func (p *partition) Trim(before int64) error {
	p.trimming.Lock()
	defer p.trimming.Unlock()
	v, ended := p.visible.view()
	switch {
	case ended != nil:
		return ended
	case before > v.high:
		return store.ErrOutOfRange
	case before <= v.start:
		return nil
	}
	return p.drop(before, v)
}

// drop makes before the log start offset: a message that says so is stored, then what lies below is
// removed. The caller holds trimming.
func (p *partition) drop(before int64, v view) error {
	removed := v.pos
	if before < v.high {
		m, err := p.messages.holding(before, v)
		if _, next, lacks := store.Missing(err); lacks && next < v.high {
			m, err = p.messages.holding(next, v)
		}
		if err != nil && !errors.As(err, new(*store.DamageError)) {
			return err
		}
		if m != nil {
			removed = m.pos
		}
	}
	if err := p.appends.put(&outgoing{prefix: prefix{kind: state, start: before, removed: removed}, moves: true}); err != nil {
		return err
	}
	p.visible.setStart(before, removed)
	p.sections.drop(before)
	p.purge(before)
	return nil
}

// purge removes the messages below the log start offset, but never the last one. What it can't remove
// now goes with the next.
func (p *partition) purge(start int64) {
	v, ended := p.visible.view()
	if ended != nil {
		return
	}
	below := v.last
	if start < v.high {
		m, err := p.messages.holding(start, v)
		if err != nil {
			return
		}
		below = m.seq
	}
	if err := p.wire.purge(p.ctx, p.at, below); err != nil {
		if p.ctx.Err() == nil {
			p.warn("messages below the log start can't be removed now: they take space until the next attempt", "reason", err)
		}
		return
	}
	p.messages.points.drop(below)
}

// Retain implements store.Partition. Appends go on meanwhile.
func (p *partition) Retain(r store.Retention) (store.Retained, error) {
	p.trimming.Lock()
	defer p.trimming.Unlock()
	list, t, err := p.sectionsToRetain()
	if err != nil {
		return store.Retained{Start: t.start}, err
	}
	out := store.Retained{Start: t.start}
	aged, held := byAge(list, r, p.time().UnixMilli())
	out.Held = held
	before := max(t.start, aged, bySize(list, r.Bytes))
	if before == t.start {
		return out, nil
	}
	if last := list[len(list)-1]; before > last.base { // the present one is removed, too
		if err := p.appends.put(&outgoing{prefix: prefix{kind: head}}); err != nil {
			return out, err
		}
	}
	size := p.Size()
	if err := p.drop(before, t.view()); err != nil {
		return out, err
	}
	out.Start, out.Freed = before, size-p.Size()
	return out, nil
}

// sectionsToRetain gives the sections of the log, and its tail. The present section ends if it is too
// old, and if it is known now that the clock was ahead: the head says that no append before was later.
func (p *partition) sectionsToRetain() ([]extent, tail, error) {
	for try := 0; ; try++ {
		t, ended := p.appends.end()
		if ended != nil {
			return nil, t, ended
		}
		v := t.view()
		list, err := p.sections.extents(v, &t)
		if err != nil {
			return nil, t, err
		}
		now := seconds(p.time())
		age := p.appends.rollAge.Load()
		switch {
		case try > 0:
		case t.appended > now:
			err = p.appends.put(&outgoing{prefix: prefix{kind: head, appended: now}, corrects: true})
			continue
		case age > 0 && t.first > 0 && int64(now)-int64(t.first) >= age && t.pos > t.sectPos:
			err = p.appends.put(&outgoing{prefix: prefix{kind: head}})
			continue
		}
		return list, t, err
	}
}
