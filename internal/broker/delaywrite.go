package broker

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/schedule"
	"mbus/internal/store"
)

// ErrDeliverAt is for a delivery time that can't be read, or is out of range.
var ErrDeliverAt = errors.New("delivery time")

// The range of a delivery time in milliseconds since 1970. A lower one, before March 1973, is a
// time in seconds or a delay; a higher one, after the year 9999, is in microseconds. 0 and
// negative numbers mean at once.
const (
	minDeliverAt = 100_000_000_000
	maxDeliverAt = 253_402_300_799_999
)

// ParseDeliverAt reads a delivery time: milliseconds since 1970, or RFC 3339, which names its
// zone, because the zone of the program that wrote a header is unknown. A time in the past means
// at once. The error wraps ErrDeliverAt.
func ParseDeliverAt(value string) (ms int64, err error) {
	ms, err = strconv.ParseInt(value, 10, 64)
	if err != nil {
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return 0, fmt.Errorf("%w: it takes a time such as 2026-11-22T10:00:00Z, or milliseconds since 1970, not %q", ErrDeliverAt, value)
		}
		return t.UnixMilli(), nil
	}
	switch {
	case ms > 0 && ms < minDeliverAt:
		return 0, fmt.Errorf("%w: %d milliseconds since 1970 are %s: it takes milliseconds, not seconds or a delay",
			ErrDeliverAt, ms, time.UnixMilli(ms).UTC().Format(time.DateOnly))
	case ms > maxDeliverAt:
		return 0, fmt.Errorf("%w: %d milliseconds since 1970 are after the year 9999: it takes milliseconds, not microseconds or nanoseconds", ErrDeliverAt, ms)
	}
	return ms, nil
}

// CheckDeliverAt is the error for headers with a delivery time that can't be read: it wraps
// ErrDeliverAt.
func CheckDeliverAt(headers []batch.Header) error {
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Key == HeaderDeliverAt {
			_, err := headerTime(headers[i].Value)
			return err
		}
	}
	return nil
}

// Waits reports whether headers have a delivery time that can be read.
func Waits(headers []batch.Header) bool {
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Key == HeaderDeliverAt {
			at, err := headerTime(headers[i].Value)
			return err == nil && at > 0
		}
	}
	return false
}

// deliverAt is when a message is due; 0 or less for at once.
func deliverAt(r *batch.Record) (at int64, err error) {
	var value []byte
	has := false
	for k, v := range r.Headers() {
		if string(k) == HeaderDeliverAt {
			value, has = v, true
		}
	}
	if !has {
		return 0, nil
	}
	return headerTime(value)
}

func headerTime(value []byte) (int64, error) {
	at, err := ParseDeliverAt(string(value))
	if err != nil {
		err = fmt.Errorf("header %q: %w", HeaderDeliverAt, err)
	}
	return at, err
}

// hold looks for messages that are not due yet. If it finds any it writes them to the log of
// delayed messages, and the others to the partition.
func (p *Partition) hold(batches []byte, done func(base int64, err error)) (lead store.Lead, held bool, err error) {
	ms := p.broker.Now().UnixMilli()
	err = Scan(func(it *batch.Iterator) (err error) {
		if held, err = anyWaits(it, batches, ms); held {
			lead, err = p.writeHalves(it, batches, ms, done)
		}
		return err
	})
	return lead, held, err
}

// writeHalves writes the messages that wait, and those for now. If one half is refused the other
// does not count.
func (p *Partition) writeHalves(it *batch.Iterator, batches []byte, ms int64, done func(base int64, err error)) (lead store.Lead, err error) {
	if !p.exists() {
		return lead, store.ErrDeleted
	}
	now, wait, err := p.split(it, batches, ms)
	if err != nil {
		return lead, err
	}
	if err := p.broker.store.CheckSpace(len(now) + len(wait.Batches)); err != nil {
		return lead, err
	}
	h := &halves{p: p, now: len(now) > 0, done: done}
	if err := p.broker.schedule.Keep(wait, h.waits); err != nil {
		return lead, err
	}
	if len(now) == 0 {
		return lead, nil
	}
	lead, err = p.write(now, false, h.written)
	if err != nil {
		h.refuse()
	}
	return lead, err
}

// anyMayWait reports whether one of the batches may have a delivery time.
func anyMayWait(batches []byte) bool {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil || b.Compressed() || bytes.Contains(b, []byte(HeaderDeliverAt)) {
			return true
		}
		batches = rest
	}
	return false
}

// anyWaits reports whether a message in the batches is not due at the time ms. The error
// wraps ErrDeliverAt if a delivery time can't be read.
func anyWaits(it *batch.Iterator, batches []byte, ms int64) (waits bool, err error) {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return false, err
		}
		batches = rest
		if err := it.Reset(b); err != nil {
			return false, err
		}
		if !bytes.Contains(it.Records(), []byte(HeaderDeliverAt)) {
			continue
		}
		latest, err := latestDue(it)
		if err != nil {
			return false, err
		}
		waits = waits || latest > ms
	}
	return waits, nil
}

// latestDue is the latest delivery time of the records to come.
func latestDue(it *batch.Iterator) (latest int64, err error) {
	for it.Next() {
		at, err := deliverAt(it.Record())
		if err != nil {
			return 0, err
		}
		latest = max(latest, at)
	}
	return latest, it.Err()
}

// split splits batches into messages for now and messages that wait.
func (p *Partition) split(it *batch.Iterator, batches []byte, ms int64) (now []byte, wait schedule.Waiting, err error) {
	var prompt batch.Builder
	waiting := p.waitingBuilder(ms)
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return nil, wait, err
		}
		if err := it.Reset(b); err != nil {
			return nil, wait, err
		}
		for it.Next() {
			r := it.Record()
			at, err := deliverAt(r)
			if err != nil {
				return nil, wait, err
			}
			if at > ms {
				waiting.Add(r, at)
				continue
			}
			prompt.AddRecord(r)
			closeFull(&prompt)
		}
		if err := it.Err(); err != nil {
			return nil, wait, err
		}
		prompt.Close(0)
		batches = rest
	}
	return prompt.Bytes(), waiting.Waiting(), nil
}

// closeFull closes a batch that is large enough.
func closeFull(b *batch.Builder) {
	if b.OpenSize() >= TargetBatch {
		b.Close(0)
	}
}

// Halves are an append of which all or some messages wait. done is called when both halves are
// durable. If the half for now is refused, or the topic has been deleted meanwhile, the messages
// that wait are not delivered.
type halves struct {
	p    *Partition
	now  bool // some messages do not wait
	done func(int64, error)

	mu      sync.Mutex     // guards what follows
	answers int            // outcomes that have come
	refused bool           // the half for now was, and Append has returned the error
	kept    *schedule.Kept // the messages that wait, when they are durable
	base    int64          // of the messages for now
	err     error
}

// waits takes the outcome of the half that waits.
func (h *halves) waits(kept *schedule.Kept, err error) {
	h.mu.Lock()
	h.kept = kept
	h.mu.Unlock()
	h.answer(err)
}

// written takes the outcome of the half for now.
func (h *halves) written(base int64, err error) {
	h.mu.Lock()
	h.base = base
	h.mu.Unlock()
	h.answer(err)
}

// refuse notes that the half for now was refused: Append returns the error, and done is not called.
func (h *halves) refuse() {
	h.mu.Lock()
	h.refused = true
	h.mu.Unlock()
	h.answer(nil)
}

func (h *halves) answer(err error) {
	h.mu.Lock()
	h.answers++
	if h.err == nil {
		h.err = err
	}
	last := h.answers == 2 || !h.now
	h.mu.Unlock()
	if last {
		h.finish()
	}
}

// finish has the messages wait, or drops them, and calls done. It looks for the topic then: if it
// exists, its deletion has not returned yet.
func (h *halves) finish() {
	if h.err == nil && !h.refused && !h.p.exists() {
		h.err = store.ErrDeleted
	}
	switch {
	case h.err == nil && !h.refused:
		h.kept.Deliver()
		if !h.p.exists() { // it has been deleted just now, and may not have found them
			h.p.broker.schedule.Abandon(h.p.topic.ID)
		}
	case h.kept != nil:
		h.kept.Cancel()
	}
	if !h.refused {
		h.done(h.base, h.err)
	}
}
