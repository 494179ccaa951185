package delivery

import (
	"errors"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// A sender leases free messages of a subscription and has them written to a Sink, whole
// batches where it can.
type sender struct {
	sub      *subscription
	sink     Sink
	loader   loader
	messages Messages // that the Sink is given
	left     int64    // messages that may still be sent; -1 for any number
	follows  bool     // nothing is sent once the hub stops

	spans   []group.Span  // of records of the stretch that is sent, in a buffer that is used again
	oneSpan [1]group.Span // that buffer, where no offset is missing
	onStall func()        // is stall, made once
}

func newSender(h *Hub, sub *subscription, sink Sink) sender {
	left := int64(-1)
	if sub.options.N > 0 {
		left = sub.options.N
	}
	return sender{sub: sub, sink: sink, loader: loader{hub: h, sink: sink}, left: left}
}

// sendFree sends up to most messages that nobody holds of a partition, as many as one look
// into the log gives. It returns how many were sent; 1 if none were, and another look may
// find some.
func (s *sender) sendFree(p *partition, end, most int64) (sent int64, err error) {
	if s.left >= 0 {
		most = min(most, s.left)
	}
	if most <= 0 || s.isStopped() {
		return 0, nil
	}
	free, _ := p.pos.Free(end, time.Now())
	if free.Len() <= 0 {
		return 0, nil
	}
	s.loader.stalled = false
	if err := s.loader.loadFew(p.log, free.From, free.To, most); err != nil {
		return 0, s.sub.unreadable(p, free, err)
	}
	x, err := s.stretch(p, free, most)
	switch {
	case err != nil && isDamage(err):
		return 0, s.sub.unreadable(p, free, err)
	case err != nil:
		return 0, err
	case len(x.runs) == 0:
		p.pos.Skip(x.Span)
		return 1, nil // look again
	}
	member := &s.sub.member
	before := member.Sent()
	if s.sub.options.Ordered {
		err = s.sendOrdered(p, x)
	} else if member.LeaseRecords(p.pos, x.Span, x.runs, x.bytes) { // otherwise another member was faster
		s.sub.served(p)
		err = s.send(p, x.Span)
	}
	sent = int64(member.Sent() - before)
	s.sub.topic.CountOut(s.sub.options.Port, sent, x.bytes*sent/x.records)
	if s.left > 0 {
		s.left -= sent
	}
	return max(1, sent), err
}

func isDamage(err error) bool {
	var damage *broker.DamageError
	return errors.As(err, &damage)
}

// isStopped reports whether nothing more is sent, because the hub stops.
func (s *sender) isStopped() bool { return s.follows && s.loader.hub.stopping.Load() }

// send sends the messages in span, which the member holds, of the batches that are loaded.
// Messages that it fails to read again, or finds changed, it gives back.
func (s *sender) send(p *partition, span group.Span) error {
	for at := span.From; at < span.To; {
		m, err := s.nextBatch(p, group.Span{From: at, To: span.To})
		if m == nil || err != nil {
			return err
		}
		first, next := m.Batch.BaseOffset(), m.Batch.NextOffset() // the batch is given up when the reader stalls
		for isLoaded, full := true, false; err == nil && isLoaded && m.From < m.To; {
			m.From, full, err = s.sink.Append(m)
			if err == nil && full {
				err = s.flush()
				isLoaded = s.loader.loaded != nil
			}
		}
		s.loader.endSlot()
		if errors.Is(err, batch.ErrCorrupt) || errors.Is(err, batch.ErrTooLarge) {
			return s.sub.undecodable(p, at, undecodable(s.sub.topic.Name, p.number, first, next, err))
		}
		if err != nil {
			return err
		}
		at = m.From
	}
	return nil
}

// nextBatch is the messages in span of the next batch that is loaded, or loaded again; nil if
// there are none, or if they were given back.
func (s *sender) nextBatch(p *partition, span group.Span) (*Messages, error) {
	for span.From < span.To {
		if len(s.loader.loaded) == 0 { // given up while the reader stalled
			if err := s.loader.loadAgain(p.log, span.From, span.To); err != nil {
				s.sub.member.GiveBack(p.pos, span.From)
				return nil, s.sub.unreadable(p, span, err)
			}
			if again, err := s.stretch(p, span, maxChunk); err != nil || again.records != s.sub.member.Records(p.pos, again.Span) {
				s.sub.member.GiveBack(p.pos, span.From)
				return nil, nil // its numbers would be wrong: look again
			}
		}
		loaded := s.loader.loaded
		b, rest, err := batch.Next(loaded)
		if err != nil {
			return nil, forClient(err) // Load has checked it
		}
		s.loader.loaded = rest
		if b.NextOffset() <= span.From || !hasMessages(b) {
			span.From = max(span.From, min(span.To, b.NextOffset()))
			continue
		}
		s.loader.packed = false
		s.messages = Messages{
			Topic: s.sub.topic.Name, Partition: p.number, Batch: b, From: span.From, To: min(span.To, b.NextOffset()),
			Loaded: len(loaded), loader: &s.loader,
		}
		if s.sub.options.Ack {
			s.messages.pos = p.pos
		}
		return &s.messages, nil
	}
	return nil, nil
}

// undecodable is the error for a batch whose records can't be read although its checksum is
// right. Batches are checked when they come in, so the log was written by another program, or
// with other limits.
func undecodable(topic string, partition int, first, next int64, err error) error {
	return &broker.DamageError{Topic: topic, Partition: partition, First: first, Next: next, Reason: err}
}

// A reader that takes nothing for so long has stalled, and its session unloads its batches. The
// time is short, because many readers may stall at once, and to read a batch again costs little.
// It is longer for a compressed batch, which has to be expanded again, unless others wait for
// the slot.
const (
	stallTime       = 10 * time.Millisecond
	packedStallTime = 250 * time.Millisecond
)

// flush has the Sink write. If the reader stalls, all batches are unloaded.
func (s *sender) flush() error {
	patience := stallTime
	if s.loader.packed && s.loader.hub.slots.waiting.Load() == 0 {
		patience = packedStallTime
	}
	if s.onStall == nil {
		s.onStall = s.stall
	}
	err := s.sink.Flush(patience, s.onStall)
	if s.loader.slotIsOver() {
		s.unload()
	}
	if s.loader.buf == nil {
		s.loader.giveBudget()
	}
	return err
}

func (s *sender) stall() {
	s.loader.stalled = true
	s.unload()
}

// unload gives up the batches that are loaded. A reference to one of them would keep all of
// their buffer in memory for as long as the reader stalls.
func (s *sender) unload() {
	s.loader.unload()
	s.messages.Batch = nil
}

// releaseBuffers gives memory back while there is nothing to send.
func (s *sender) releaseBuffers() {
	s.loader.close()
	s.spans, s.messages = nil, Messages{}
	s.sink.ReleaseBuffers()
}
