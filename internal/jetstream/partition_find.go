package jetstream

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// A request of messages may go to a replica that lags, that is frozen, or that has a message damaged.
// So it is repeated: other replicas answer, and now and then the leader is asked.
const (
	readPatience = 250 * time.Millisecond
	readTime     = 10 * time.Second // for answers, if none come
	wrongReads   = 24               // answers without the message, until it counts as lost
	wrongTime    = 6 * time.Second  // and how long: for some seconds after a start only the leader answers
	wrongAgain   = time.Minute      // after that time all replicas have answered, for this long
	wrongProbes  = 8                // answers without the message, where another one will do
	mostAhead    = 256 << 10        // bytes that are read of small messages at once
	leaderEach   = 5                // each so many attempts ask the leader
)

// messages are those of a partition, wherever they are.
type messages struct {
	log    *partition
	points points
	asked  atomic.Int64 // when all replicas were asked long enough, in nanoseconds since 1970
	passed atomic.Bool  // the log was read up to its end
}

// A lackError says that all replicas lack a message, or have it damaged.
type lackError struct {
	reason error
	part   *message // what is valid of it, up to the damage; nil for nothing
}

func (e *lackError) Error() string { return "no replica has the message: " + e.reason.Error() }

func (e *lackError) Unwrap() error { return e.reason }

// fetch gives messages that are not fences, ascending, from the first one at a sequence or above. For
// that one right must not return an error: it says that a replica lacks something. The caller knows
// that there is a message. What comes behind is what came with it, up to about max bytes. If all replicas
// lack it the error is a *lackError; that is certain, or it comes soon.
func (l *messages) fetch(from uint64, max int, certain bool, right func(*message) error) ([]*message, error) {
	began, wrong := time.Now(), 0
	lack := &lackError{}
	for try := 1; ; try++ {
		list, part, err := l.tryFetch(from, max, try%leaderEach == 0, right)
		if err == nil {
			return list, nil
		}
		if l.log.ctx.Err() != nil {
			return nil, l.log.moved()
		}
		if !errors.Is(err, errSilent) {
			wrong++
			lack.reason = err
			if part != nil && (lack.part == nil || len(part.data) > len(lack.part.data)) {
				lack.part = part
			}
		}
		switch {
		case l.enough(wrong, began, certain):
			return nil, lack
		case time.Since(began) > readTime:
			return nil, fmt.Errorf("%w: topic %q, partition %d, sequence %d: %w", store.ErrUnavailable, l.log.topic, l.log.number, from, err)
		case try > 3:
			time.Sleep(time.Duration(min(try, 50)) * time.Millisecond) // a replica may only lag
		}
	}
}

// enough reports whether so many wrong answers since a time say that no replica has a message.
func (l *messages) enough(wrong int, began time.Time, certain bool) bool {
	if !certain {
		return wrong >= wrongProbes
	}
	if wrong < wrongReads {
		return false
	}
	if time.Since(began) >= wrongTime {
		l.asked.Store(time.Now().UnixNano())
		return true
	}
	return time.Since(time.Unix(0, l.asked.Load())) < wrongAgain
}

// tryFetch asks one replica. Of a damaged message it gives the part before the damage.
func (l *messages) tryFetch(from uint64, max int, leader bool, right func(*message) error) (list []*message, part *message, err error) {
	if from == 0 {
		from = 1
	}
	for {
		answer, err := l.ask(from, max, leader)
		if err != nil {
			return nil, nil, err
		}
		for _, s := range answer {
			m, err := parse(s, l.log.leader)
			switch {
			case m != nil && m.kind == fence:
			case err == nil && len(list) == 0 && right != nil:
				err = right(m)
			case err == nil && len(list) > 0 && m.base != list[len(list)-1].next:
				err = errors.New("what is between is missing")
			}
			if err != nil && len(list) > 0 {
				return list, nil, nil
			}
			if err != nil {
				return nil, m, err
			}
			if m.kind != fence {
				list = append(list, m)
			}
			from = s.seq + 1
		}
		if len(list) > 0 {
			return list, nil, nil
		}
	}
}

func (l *messages) ask(from uint64, max int, leader bool) ([]stored, error) {
	if !leader {
		return l.log.wire.some(l.log.ctx, l.log.at, from, max, readPatience)
	}
	s, err := l.log.wire.next(l.log.ctx, l.log.at, from, readPatience)
	return []stored{s}, err
}

// probe gives the first message that is not a fence and can be read, from a sequence on and below
// another one; nil for none.
func (l *messages) probe(from, to uint64) (*message, error) {
	for ; from < to; from++ {
		list, err := l.fetch(from, 1, false, nil)
		var lack *lackError
		switch {
		case errors.As(err, &lack):
			continue
		case err != nil:
			return nil, err
		case list[0].seq < to:
			return list[0], nil
		}
		break
	}
	return nil, nil
}

// readAhead is how many bytes of small messages are read at once: not more than is kept of them.
func (l *messages) readAhead() int { return min(mostAhead, l.log.sizes.fetched/8) }

// keep adds messages that were read to what is known of the log.
func (l *messages) keep(list []*message) {
	for _, m := range list {
		if m.kind == batches {
			l.points.add(m)
			l.log.fetched.add(l.log, m)
		}
	}
}

// known gives the message with the record at an offset if it is in memory.
func (l *messages) known(offset int64) *message {
	if m := l.cached(offset); m != nil {
		return m
	}
	at, _, ok, _ := l.points.around(func(at point) bool { return at.base > offset })
	if !ok {
		return nil
	}
	if m := l.cached(at.base); m != nil && m.next > offset {
		return m
	}
	return nil
}

func (l *messages) cached(base int64) *message {
	if m := l.log.written.get(l.log, base); m != nil {
		return m
	}
	return l.log.fetched.get(l.log, base)
}

// holding gives the message with the record at an offset, which is below the high watermark.
func (l *messages) holding(offset int64, v view) (*message, error) {
	if m := l.known(offset); m != nil {
		return m, nil
	}
	from, to, near := l.between(offset, v)
	if near {
		list, err := l.fetch(from, l.readAhead(), false, nil)
		if err == nil {
			l.keep(list)
			if m := holds(list, offset); m != nil {
				return m, nil
			}
		} else if lack := (*lackError)(nil); !errors.As(err, &lack) {
			return nil, l.log.visible.explain(offset, err)
		}
	}
	m, err := l.lastTrue(from, to, func(m *message) bool { return m.base <= offset })
	if err != nil {
		return nil, l.log.visible.explain(offset, err)
	}
	if m != nil && m.next > offset {
		l.keep([]*message{m})
		return m, nil
	}
	if m != nil {
		from = m.seq + 1
	}
	return l.certain(offset, v, from)
}

// between gives sequences between which the message with an offset is: from one on, below the other. near
// says that it is most likely among the first.
func (l *messages) between(offset int64, v view) (from, to uint64, near bool) {
	at, next, okAt, okNext := l.points.around(func(at point) bool { return at.base > offset })
	from, to = 1, v.last+1
	if okAt {
		from = at.seq
	}
	if okNext {
		to = next.seq
	}
	return from, to, okAt || to-from < 64
}

// certain gives the message with the record at an offset, which is the first one with records from a
// sequence on, or says that it is damaged.
func (l *messages) certain(offset int64, v view, from uint64) (*message, error) {
	list, err := l.fetch(from, l.readAhead(), true, func(m *message) error {
		if m.base > offset || m.kind == batches && m.next <= offset {
			return fmt.Errorf("the message behind sequence %d has offsets %d to %d, and not %d", from, m.base, m.next-1, offset)
		}
		return nil
	})
	var lack *lackError
	switch {
	case errors.As(err, &lack):
		if lack.part != nil && holds([]*message{lack.part}, offset) != nil {
			return lack.part, nil
		}
		return nil, l.damaged(offset, v, from, lack)
	case err != nil:
		return nil, l.log.visible.explain(offset, err)
	}
	l.keep(list)
	if m := holds(list, offset); m != nil {
		return m, nil
	}
	return l.certain(offset, v, list[len(list)-1].seq+1) // those were without records
}

// holds gives the message of a list that has the record at an offset.
func holds(list []*message, offset int64) *message {
	for _, m := range list {
		if m.base <= offset && offset < m.next {
			return m
		}
	}
	return nil
}

// lastTrue gives the last message from a sequence on, and below another one, for which f is true; nil
// for none. f is false for all behind the first one for which it is false. There is a message at to or
// above.
func (l *messages) lastTrue(from, to uint64, f func(*message) bool) (best *message, err error) {
	for from < to {
		mid := from + (to-from)/2
		m, err := l.probe(mid, to)
		if err != nil {
			return nil, err
		}
		if m != nil && f(m) {
			best, from = m, m.seq+1
		} else {
			to = mid
		}
	}
	return best, nil
}

// damaged gives the error for an offset whose message can't be read from a sequence on.
func (l *messages) damaged(offset int64, v view, from uint64, reason error) error {
	next := v.high
	switch m, err := l.beyond(offset, from, v.last+1); {
	case err != nil:
		return l.log.visible.explain(offset, err)
	case m != nil:
		next = min(m.base, v.high)
	}
	if err := l.log.visible.explain(offset, nil); err != nil { // the messages may have been removed
		return err
	}
	l.log.stats.Damage.Add(1)
	if isInternal(l.log.topic) && !l.passed.Load() {
		// The groups' positions, the users and the delayed messages are read as a whole at a takeover, which
		// must not go on with older ones in place of those that are missing.
		return fmt.Errorf("%w: topic %q lacks offsets %d to %d: start the nodes that are down: %w",
			store.ErrUnavailable, l.log.topic, offset, next-1, reason)
	}
	l.log.log.Error("messages can't be read from any node: they are lost", "topic", l.log.topic, "partition", l.log.number,
		"offset", offset, "next", next, "stream", l.log.at.stream, "sequence", from, "reason", reason)
	return &store.DamageError{
		Topic: l.log.topic, Partition: l.log.number, First: offset, Next: next, File: l.log.at.stream, Pos: int64(from), Reason: reason,
	}
}

// beyond gives the first message behind the damage at an offset that can be read; nil for none.
func (l *messages) beyond(offset int64, from, to uint64) (*message, error) {
	for {
		m, err := l.probe(from, to)
		if m == nil || err != nil || m.base > offset {
			return m, err
		}
		from = m.seq + 1
	}
}
