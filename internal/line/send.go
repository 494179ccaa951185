package line

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/message"
)

// A sender reads messages from the log and writes them to a consumer, in the
// format that it asked for.
type sender struct {
	*conn
	request *request
	topic   *broker.Topic

	chunk     broker.Chunk
	loaded    []byte // whole batches that have been read, not all sent yet
	loads     int    // how often that was done
	buf       *[]byte
	taken     int // bytes of the budget, for what is larger than readChunk
	it        batch.Iterator
	turn      time.Time // since when the sender has one; zero for none
	slice     batch.Builder
	out       []byte
	small     *[smallOut]byte // that out began with, if it is from the pool
	large     *[largeOut]byte // or this
	again     []group.Failure // of what is being sent: the messages that have failed before, ascending
	packed    bool            // what is loaded has to be decompressed to be sent
	stalled   bool            // the reader has, since the sender looked for what is free
	partition int             // that was named last in format=batch; -1 for none
	written   int64           // bytes, in all
}

// readChunk is how much is read from the log at once, in bytes. A batch that is
// larger is read whole.
const readChunk = 128 << 10

// load reads the batches from offset on, about most bytes and at most readChunk.
func (s *sender) load(log *broker.Partition, offset int64, most int) error {
	if err := log.Fetch(offset, min(most, readChunk), &s.chunk); err != nil {
		return err
	}
	if n := s.chunk.Len(); n > readChunk && n > s.taken {
		if !s.broker.Budget.Take(n - s.taken) {
			return &answerError{"BUSY", errBusy}
		}
		s.taken = n
	}
	if s.buf == nil {
		s.server.loads <- struct{}{}
		s.buf = buffers.Get().(*[]byte)
	}
	p, err := s.chunk.Load(*s.buf)
	if err != nil {
		return err
	}
	*s.buf, s.loaded = p, p
	s.loads++
	if s.out == nil { // at once, for a grown one would be up to twice as large
		s.takeOut(min(len(p), broker.SendBuffer) + broker.FirstBuffer)
	}
	return nil
}

// Buffers to load into, and to send from. Small ones are for followers that get a
// little now and then.
var (
	buffers   = sync.Pool{New: func() any { return new([]byte) }}
	outs      = sync.Pool{New: func() any { return new([smallOut]byte) }}
	largeOuts = sync.Pool{New: func() any { return new([largeOut]byte) }}
)

const (
	smallOut = 8 << 10
	largeOut = broker.SendBuffer + broker.FirstBuffer
)

// takeOut gets a buffer to send from.
func (s *sender) takeOut(size int) {
	if size > smallOut {
		s.large = largeOuts.Get().(*[largeOut]byte)
		s.out = s.large[:0]
		return
	}
	s.small = outs.Get().(*[smallOut]byte)
	s.out = s.small[:0]
}

// freeOut gives the buffer back, and what is in it.
func (s *sender) freeOut() {
	if s.small != nil {
		outs.Put(s.small)
	}
	if s.large != nil {
		largeOuts.Put(s.large)
	}
	s.out, s.small, s.large = nil, nil, nil
}

// unload gives the memory back; what was loaded has to be read again.
func (s *sender) unload() {
	if s.buf != nil {
		if cap(*s.buf) <= 2*readChunk {
			buffers.Put(s.buf)
		}
		<-s.server.loads
	}
	s.buf, s.loaded = nil, nil
	if s.slice.Cap() > 0 {
		s.slice = batch.Builder{}
	}
	s.endTurn()
	s.it = batch.Iterator{}
}

// sendPart sends the part of a batch in span, and returns the offset behind what
// it has dealt with: less when the reader stalls. A *broker.DamageError says that
// the batch can't be decoded.
func (s *sender) sendPart(partition int, b batch.Batch, span group.Span) (int64, error) {
	if s.request.format == formatBatch {
		return s.sendBatch(partition, b, span)
	}
	return s.sendRecords(partition, b, span)
}

// sendRecords is sendPart for lines and JSON.
func (s *sender) sendRecords(partition int, b batch.Batch, span group.Span) (int64, error) {
	first, next := b.BaseOffset(), b.NextOffset() // b itself may be given up
	s.packed = b.Compressed()
	if err := s.beginTurn(b); err != nil {
		return 0, err
	}
	defer s.endTurn()
	err := s.expand(b)
	for err == nil && s.it.Next() {
		r := s.it.Record()
		if r.Offset < span.From {
			continue
		}
		if r.Offset >= span.To {
			return span.To, nil
		}
		s.appendRecord(partition, r)
		if len(s.out) < broker.SendBuffer {
			continue
		}
		done := r.Offset + 1
		if err := s.flush(); err != nil {
			return 0, err
		}
		if s.loaded == nil { // and with it what r points to
			return done, nil
		}
	}
	if err == nil {
		err = s.it.Err()
	}
	if err != nil {
		return 0, s.undecodable(partition, first, next, err)
	}
	return span.To, nil
}

// undecodable is for a batch whose records can't be read although its checksum
// is right. Batches are checked when they come in, so it takes a log that was
// written by another program, or with other limits.
func (s *sender) undecodable(partition int, first, next int64, err error) error {
	return &broker.DamageError{Topic: s.topic.Name, Partition: partition, First: first, Next: next, Reason: err}
}

func (s *sender) appendRecord(partition int, r *batch.Record) {
	switch {
	case s.request.format == formatJSON:
		from := message.Origin{Broker: s.server.Node, Topic: s.topic.Name, Partition: partition}
		if s.request.ack {
			from.Attempt = s.attempt(r.Offset)
		}
		s.out = message.AppendJSON(s.out, from, r)
	case s.request.keyed:
		s.out = append(append(s.out, r.Key...), '\t')
		s.out = append(s.out, r.Value...)
	default:
		s.out = append(s.out, r.Value...)
	}
	s.out = append(s.out, '\n')
}

// attempt is how often a message has been delivered that is sent now, this time included.
func (s *sender) attempt(offset int64) int {
	i, found := slices.BinarySearchFunc(s.again, offset, func(f group.Failure, o int64) int { return cmp.Compare(f.Offset, o) })
	if !found {
		return 1
	}
	return s.again[i].Attempts + 1
}

// attemptHeader tells the attempt of a message that has failed before.
func (s *sender) attemptHeader(offset int64) []batch.Header {
	n := s.attempt(offset)
	if n == 1 {
		return nil
	}
	return []batch.Header{{Key: broker.HeaderAttempt, Value: strconv.AppendInt(nil, int64(n), 10)}}
}

// sendBatch is sendPart for batches: as it is stored if span is all of it, and none of
// its messages has failed before.
func (s *sender) sendBatch(partition int, b batch.Batch, span group.Span) (int64, error) {
	if s.partition != partition {
		s.partition = partition
		s.out = append(strconv.AppendInt(append(s.out, '@'), int64(partition), 10), '\n')
	}
	large := len(b) > broker.SendBuffer/2
	if large || len(s.out)+len(b) > broker.SendBuffer {
		if err := s.flush(); err != nil {
			return 0, err
		}
		if s.loaded == nil { // and with it b
			return span.From, nil
		}
	}
	if span.From > b.BaseOffset() || span.To < b.NextOffset() || len(s.again) > 0 {
		return s.sendSlices(partition, b, span)
	}
	if large {
		return span.To, s.write(b)
	}
	s.out = append(s.out, b...)
	return span.To, nil
}

// sliceSize is the size in bytes at which a slice of a batch is sent.
const sliceSize = broker.SendBuffer

// sendSlices is sendBatch for what has to be written anew, in batches that are not
// compressed.
func (s *sender) sendSlices(partition int, b batch.Batch, span group.Span) (int64, error) {
	first, next := b.BaseOffset(), b.NextOffset() // b itself may be given up
	if err := s.beginTurn(b); err != nil {
		return 0, err
	}
	defer s.endTurn()
	var more func(int64) []batch.Header
	if len(s.again) > 0 {
		more = s.attemptHeader
	}
	err := s.expand(b)
	for at := span.From; err == nil && at < span.To; {
		s.slice.Reset()
		if at, err = batch.SliceSome(&s.slice, &s.it, b, at, span.To, sliceSize, more); err != nil {
			break
		}
		s.out = append(s.out, s.slice.Bytes()...)
		if len(s.out) < broker.SendBuffer {
			continue
		}
		if err := s.flush(); err != nil {
			return 0, err
		}
		if s.loaded == nil { // and with it b
			return at, nil
		}
	}
	if err != nil {
		return 0, s.undecodable(partition, first, next, err)
	}
	return span.To, nil
}

// close gives back all that the sender holds of the broker.
func (s *sender) close() {
	s.unload()
	s.freeOut()
	s.chunk.Release()
	s.broker.Budget.Give(s.taken)
	s.taken = 0
}

// How long a write may take before the memory that is not needed meanwhile is
// given back: a moment only, for many readers may stall at once, and to read a
// batch again costs little. It is more where it has to be decompressed again, too, unless
// others wait for the turn.
const (
	stallTime       = 10 * time.Millisecond
	packedStallTime = 250 * time.Millisecond
)

// flush writes out. If the reader stalls, what is loaded is given up, so that
// the connection costs no more than what is left of out while it waits.
func (s *sender) flush() error {
	n, err := s.writeQuickly(s.out)
	if isTimeout(err) {
		s.stalled = true
		s.unload()
		err = s.writeSlowly(s.takeRest(n))
	} else if s.turnIsOver() {
		s.unload()
	}
	if s.out = s.out[:0]; cap(s.out) > 2*broker.SendBuffer {
		s.freeOut() // grown for a large message
	}
	if s.buf == nil {
		s.broker.Budget.Give(s.taken)
		s.taken = 0
	}
	return err
}

// takeRest is out from n on, in a buffer of its own unless that saves little.
func (s *sender) takeRest(n int) []byte {
	rest := s.out[n:]
	if len(rest) <= cap(s.out)*7/8 {
		rest = bytes.Clone(rest)
		s.freeOut()
	}
	return rest
}

// write writes p, which is part of what is loaded, when out is empty.
func (s *sender) write(p []byte) error {
	n, err := s.writeQuickly(p)
	if isTimeout(err) {
		s.out = append(s.out, p[n:]...)
		err = s.flush() // which gives up the rest of what is loaded
	}
	return err
}

func (s *sender) writeQuickly(p []byte) (int, error) {
	patience := stallTime
	if s.packed && s.server.turns.waiting.Load() == 0 {
		patience = packedStallTime
	}
	n, err := s.net.Write(p, min(patience, s.broker.Limits.WriteTime))
	s.written += int64(n)
	return n, err
}

// writeSlowly is conn's, and counts what it writes.
func (s *sender) writeSlowly(p []byte) error {
	n, err := s.conn.writeSlowly(p)
	s.written += int64(n)
	return err
}
