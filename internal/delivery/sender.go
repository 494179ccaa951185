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
	member := &s.sub.member
	if s.isStopped() { // meanwhile: another session may have given them back because of that
		member.GiveBack(p.pos, span.From)
		return nil
	}
	for at := span.From; at < span.To; {
		if len(s.loader.loaded) == 0 { // given up while the reader stalled
			if err := s.loader.loadAgain(p.log, at, span.To); err != nil {
				member.GiveBack(p.pos, at)
				return s.sub.unreadable(p, group.Span{From: at, To: span.To}, err)
			}
			if again, err := s.stretch(p, group.Span{From: at, To: span.To}, maxChunk); err != nil || again.records != member.Records(p.pos, again.Span) {
				member.GiveBack(p.pos, at)
				return nil // its numbers would be wrong: look again
			}
		}
		b, rest, err := batch.Next(s.loader.loaded)
		if err != nil {
			return forClient(err) // Load has checked it
		}
		if b.NextOffset() <= at || !hasMessages(b) {
			s.loader.loaded = rest
			at = max(at, min(span.To, b.NextOffset()))
			continue
		}
		next, err := s.sendBatch(p, b, group.Span{From: at, To: min(span.To, b.NextOffset())})
		if err != nil {
			return s.sub.undecodable(p, at, err)
		}
		at = next
	}
	return nil
}

// sendBatch sends the messages in span of the first batch that is loaded, and returns the offset
// behind the last of them: less than the span's end when the reader stalls. A
// *broker.DamageError says that the batch can't be decoded.
func (s *sender) sendBatch(p *partition, b batch.Batch, span group.Span) (int64, error) {
	first, next := b.BaseOffset(), b.NextOffset() // b itself may be given up
	loaded := s.loader.loaded
	s.loader.loaded = loaded[len(b):]
	s.loader.packed = false
	m := &s.messages
	*m = Messages{Topic: s.sub.topic.Name, Partition: p.number, Batch: b, From: span.From, To: span.To, Loaded: len(loaded), loader: &s.loader}
	if s.sub.options.Ack {
		m.pos = p.pos
	}
	defer s.loader.endSlot()
	for m.From < m.To {
		at, full, err := s.sink.Append(m)
		if errors.Is(err, batch.ErrCorrupt) || errors.Is(err, batch.ErrTooLarge) {
			return 0, undecodable(s.sub.topic.Name, p.number, first, next, err)
		}
		if err != nil {
			return 0, err
		}
		m.From = at
		if !full {
			continue
		}
		if err := s.flush(); err != nil {
			return 0, err
		}
		if s.loader.loaded == nil { // and with it b
			break
		}
	}
	return m.From, nil
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
		s.loader.unload()
	}
	if s.loader.buf == nil {
		s.loader.giveBudget()
	}
	return err
}

func (s *sender) stall() {
	s.loader.stalled = true
	s.loader.unload()
}

// releaseBuffers gives memory back while there is nothing to send.
func (s *sender) releaseBuffers() {
	s.loader.close()
	s.spans = nil
	s.sink.ReleaseBuffers()
}
