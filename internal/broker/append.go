package broker

import (
	"errors"
	"fmt"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// Errors for idempotent producers, beside those of Check and of the store. Nothing was
// stored.
var (
	ErrFenced     = errors.New("a newer epoch of this producer has written")
	ErrOutOfOrder = errors.New("sequence numbers are out of order")
)

// AppendOptions describe the batches of an Append.
type AppendOptions struct {
	// Checked batches, of which there may be several, need no verification: the broker has
	// built them, or Check has verified each. Otherwise there is one batch, as a client
	// made it: it is verified, and stored once if it has a producer id.
	Checked bool

	// Due messages do not wait, whatever their headers say.
	Due bool

	// Port is where the messages came from; they are counted there.
	Port Port

	// Stream is the stream of numbered messages that Checked batches are of; nil for none.
	Stream *Stream

	// Inline says that the caller has nothing else to do before done is called: Append
	// commits the batches itself, which is faster than to leave that to another goroutine.
	Inline bool
}

// Append publishes batches. In this order it checks limits and verifies, drops repeats of
// idempotent producers, checks the space, holds back messages that are not due yet, stamps the
// others with LogAppendTime where the topic has that, writes them and commits.
//
// done is called once if Append returns nil, when the batches are durable and visible, with
// the offset of the first record, or with an error if they may not be durable. The done of an
// earlier Append runs first, unless one of them has messages that wait. done must not block, nor
// append; it may run before Append returns.
//
// An error returned means that nothing was stored and done is not called: ErrFull (try
// again later), ErrFailed (after an I/O error; it may work later), ErrDeleted,
// ErrClosed, or one of Check, ErrFenced or ErrOutOfOrder.
//
// A batch with a producer id that is not Checked is stored once however often it is sent:
// one that is among the last five of its producer in this partition is not written again,
// and done gets the offset of the first time, not before that one is durable. Others must
// follow on each other by their sequence numbers. See sequences for how long that is
// remembered.
//
// The caller may use the batches again when Append returns. The header of a batch that was
// stored whole, and of a repeat, has its LogAppendTime then.
func (p *Partition) Append(b []byte, o AppendOptions, done func(base int64, err error)) error {
	var lead store.Lead
	mayWait, err := p.check(b, o)
	switch {
	case err != nil:
	case o.Stream != nil:
		lead, err = o.Stream.append(p, b, mayWait, done)
	case !o.Checked && batch.Batch(b).ProducerID() >= 0:
		var repeated bool
		if lead, repeated, err = p.sequences.append(p, b, mayWait, done); repeated {
			o.Port = NoPort
		}
	default:
		lead, err = p.write(b, mayWait, done)
	}
	switch {
	case o.Port == NoPort:
	case err == nil:
		p.topic.countIn(o.Port, b)
	default:
		p.broker.Stats.refuse(o.Port, err)
	}
	if o.Inline { // here, where no lock is held
		lead.Commit()
	} else {
		lead.Go()
	}
	return err
}

// AppendAndWait appends batches that need no check and waits until they are durable. It
// returns the offset of the first record.
func (p *Partition) AppendAndWait(b []byte) (base int64, err error) {
	done := make(chan struct{})
	refused := p.Append(b, AppendOptions{Checked: true, Inline: true}, func(at int64, failed error) {
		base, err = at, failed
		close(done)
	})
	if refused != nil {
		return 0, refused
	}
	<-done
	return base, err
}

// AppendDurably appends batches that need no check and calls done once, when they are
// durable however the store syncs, or with the reason why they may not be. done must not
// block.
func (p *Partition) AppendDurably(b []byte, done func(error)) {
	if err := p.Append(b, AppendOptions{Checked: true}, durably(p, done)); err != nil {
		done(err)
	}
}

// check verifies a batch that a client made. It also reports whether a message of the batches
// may have to wait.
func (p *Partition) check(b batch.Batch, o AppendOptions) (mayWait bool, err error) {
	if o.Checked {
		return !o.Due && !p.internal && anyMayWait(b), nil
	}
	if limit := p.topic.MaxBatch(); len(b) > limit {
		return false, fmt.Errorf("%w: the batch has %d bytes, the limit of topic %q is %d", ErrTooLarge, len(b), p.topic.Name, limit)
	}
	if mayWait, err = p.broker.check(p.topic, b); err != nil {
		return false, err
	}
	if id := b.ProducerID(); id >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0) {
		return false, fmt.Errorf("%w: producer %d with epoch %d and sequence %d", batch.ErrCorrupt, id, b.ProducerEpoch(), b.BaseSequence())
	}
	return mayWait, nil
}

// write writes batches if there is space, with the log's time where that counts, but for
// messages that wait, which go elsewhere first. The broker's own records take the space that is
// kept for them.
func (p *Partition) write(b []byte, mayWait bool, done func(base int64, err error)) (store.Lead, error) {
	if !p.internal {
		if err := p.broker.store.CheckSpace(len(b)); err != nil {
			return store.Lead{}, err
		}
	}
	if mayWait {
		if lead, held, err := p.hold(b, done); held || err != nil {
			return lead, err
		}
	}
	if !p.topic.settings.Load().appendTime {
		return p.log.Write(b, done)
	}
	p.stamp.mu.Lock()
	defer p.stamp.mu.Unlock()
	at := p.stamp.next(p.broker.Now())
	for rest := b; len(rest) > 0; {
		b, next, err := batch.Next(rest)
		if err != nil {
			return store.Lead{}, err
		}
		b.SetAppendTime(at)
		rest = next
	}
	return p.log.Write(b, done)
}

// stampedAt is the LogAppendTime of a batch; -1 if it has CreateTime.
func stampedAt(b batch.Batch) int64 {
	if b.LogAppendTime() {
		return b.MaxTimestamp()
	}
	return -1
}
