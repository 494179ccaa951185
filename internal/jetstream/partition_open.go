package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A partition is taken over from an owner that may go on writing. The new owner publishes a fence,
// without a condition, because with one a busy owner would starve it. What the old owner sends from
// then on has a condition that does not hold. What it has stored before stands between the last message
// that was known and the fence.

// recover opens the partition. It returns the sequences of older fences, which nobody needs any more.
func (p *partition) recover(ctx context.Context) (old []uint64, err error) {
	known, err := p.lastKnown(ctx)
	if err != nil {
		return nil, err
	}
	at, err := p.fence(ctx, known)
	if err != nil {
		return nil, err
	}
	last, old, err := p.walk(ctx, known, at)
	if err != nil {
		return nil, err
	}
	t := tail{latest: noTime, next: p.first, start: p.first}
	if last != nil {
		t.follow(last)
		p.messages.keep([]*message{last})
	}
	t.seq = at
	p.open(&t)
	return old, nil
}

// lastKnown gives the sequence of the last message that is not a fence, or 0, as far as the last message
// tells. There may be later ones.
func (p *partition) lastKnown(ctx context.Context) (uint64, error) {
	s, err := p.patiently(ctx, func() (stored, error) { return p.wire.last(ctx, p.at, patience) })
	if errors.Is(err, errNone) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	f, _, err := parsePrefix(s.data)
	switch {
	case err != nil:
		return 0, fmt.Errorf("the last message, sequence %d: %w", s.seq, err)
	case f.epoch > p.term:
		return 0, p.later(s.seq, f.epoch)
	case f.kind == fence:
		return uint64(f.base), nil
	}
	return s.seq, nil
}

// later says that another node has taken the partition over.
func (p *partition) later(seq uint64, epoch uint32) error {
	err := fmt.Errorf("sequence %d of stream %q is of the owner of epoch %d, this one's is %d", seq, p.at.stream, epoch, p.term)
	p.lose(err)
	return p.moved()
}

// patiently repeats what gets no answer until ctx is done.
func (p *partition) patiently(ctx context.Context, ask func() (stored, error)) (stored, error) {
	for wait := leastPause; ; wait = min(2*wait, mostPause) {
		s, err := ask()
		if err == nil || !errors.Is(err, errSilent) || ctx.Err() != nil {
			return s, err
		}
		pause(ctx, wait)
	}
}

// fence publishes a fence and returns its sequence. There may be several copies of it, also later ones.
func (p *partition) fence(ctx context.Context, known uint64) (uint64, error) {
	f := prefix{epoch: p.term, kind: fence, base: int64(known)}
	data := make([]byte, prefixSize)
	f.encode(data)
	pub := p.wire.publishing(p.at)
	defer pub.end()
	for wait := patience; ; wait = min(2*wait, mostPatience) {
		if err := pub.send(condition{kind: always}, data); err != nil {
			return 0, err
		}
		timer := time.NewTimer(wait)
		select {
		case a := <-pub.answers():
			timer.Stop()
			if a.err == nil {
				return a.seq, nil
			}
			wait = patience / 2
			pause(ctx, mostPause/2)
		case <-timer.C:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
}

// walk reads from the last message that was known to the fence. It returns the last message that is
// not a fence, nil for none, and the sequences of other fences.
func (p *partition) walk(ctx context.Context, known, at uint64) (last *message, fences []uint64, err error) {
	for from := max(known, 1); ; {
		s, err := p.patiently(ctx, func() (stored, error) {
			s, err := p.wire.next(ctx, p.at, from, patience)
			if errors.Is(err, errNone) {
				err = fmt.Errorf("%w: the leader does not have the fence yet", errSilent)
			}
			return s, err
		})
		if err != nil {
			return nil, nil, err
		}
		m, err := p.whole(s)
		switch {
		case err != nil:
			return nil, nil, err
		case m.epoch > p.term:
			return nil, nil, p.later(m.seq, m.epoch)
		case m.kind != fence:
			last = m
		case m.seq < at:
			fences = append(fences, m.seq)
		}
		if s.seq >= at {
			break
		}
		from = s.seq + 1
	}
	if last == nil && known > 0 {
		return nil, nil, fmt.Errorf("sequence %d of stream %q is missing, and so is all behind it", known, p.at.stream)
	}
	return last, fences, nil
}

// whole reads a message that the leader has given. If it is damaged there, another replica is asked.
func (p *partition) whole(s stored) (*message, error) {
	m, err := parse(s, p.leader)
	if err == nil || m != nil && m.kind == fence {
		return m, nil
	}
	list, err := p.messages.fetch(s.seq, 1, true, func(m *message) error {
		if m.seq != s.seq {
			return fmt.Errorf("sequence %d came in place of %d", m.seq, s.seq)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// tidy removes older fences, so that those of an idle partition don't pile up.
func (p *partition) tidy(fences []uint64) error {
	t, err := p.appends.end()
	if err != nil || len(fences) == 0 {
		return err
	}
	if t.next == p.first && t.pos == 0 && t.start == p.first && t.section == 0 {
		return p.wire.purge(p.ctx, p.at, fences[len(fences)-1]+1)
	}
	for _, seq := range fences {
		if err := p.wire.remove(p.ctx, p.at, seq); err != nil {
			return err
		}
	}
	return nil
}
