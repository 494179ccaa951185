package line

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/record"
	"mbus/internal/store"
)

// A drain is a consumer's connection that gets what its group has not consumed,
// up to the end of the topic as it stood when the request came.
type drain struct {
	*conn
	request   *request
	topic     *broker.Topic
	ends      []int64 // of each partition
	positions []*group.Position
	member    group.Member
	left      int64 // messages that may still be sent; -1 for all

	chunk     store.Chunk
	loaded    []byte // whole batches that have been read, not all sent yet
	buf       *[]byte
	taken     int // bytes of the budget, for what is larger than readChunk
	it        batch.Iterator
	slice     batch.Builder
	out       []byte
	partition int // that was named last in format=batch; -1 for none
}

// consume serves a consumer's connection.
func (c *conn) consume() error {
	r, err := c.readRequest(consumerOptions)
	if err != nil {
		return ignoreEOF(err)
	}
	if !c.server.finish(c) {
		return answer("SHUTDOWN", "the broker is stopping")
	}
	d := &drain{conn: c, request: r, left: -1, partition: -1}
	if r.n > 0 {
		d.left = r.n
	}
	c.in.free() // nothing more is expected
	defer d.release()
	d.topic, err = c.broker.Topic(r.topic)
	if err == nil {
		d.begin()
		err = d.run()
	}
	if errors.Is(err, store.ErrUnknownTopic) {
		err = nil
	}
	return d.end(err)
}

// begin notes where the topic ends.
func (d *drain) begin() {
	for i, p := range d.topic.Partitions {
		_, end := p.Offsets()
		d.ends = append(d.ends, end)
		d.positions = append(d.positions, d.broker.Position(d.request.group, d.topic.Name, i))
	}
}

// run sends what is free, and then what other members give back within the
// settling time.
func (d *drain) run() error {
	var settled <-chan time.Time
	for last := false; ; {
		for i := range d.positions {
			if err := d.drainPartition(i); err != nil {
				return err
			}
		}
		if err := d.flush(); err != nil || d.left == 0 || last {
			return err
		}
		changed := d.others()
		if d.anyFree() {
			continue // given back while others were looked at, or a reader was slow
		}
		if changed == nil {
			return nil
		}
		if settled == nil {
			settled = time.After(d.broker.Limits.SettleTime)
		}
		select {
		case <-changed:
		case <-settled:
			last = true // changed is of one partition only
		}
	}
}

// anyFree says whether there is something that nobody holds.
func (d *drain) anyFree() bool {
	for i, p := range d.positions {
		if s := p.Free(d.ends[i]); s.From < s.To {
			return true
		}
	}
	return false
}

// others is closed when another member has given something back; nil if none
// holds anything.
func (d *drain) others() <-chan struct{} {
	for i, p := range d.positions {
		if c := p.Others(&d.member, d.ends[i]); c != nil {
			return c
		}
	}
	return nil
}

// drainPartition sends what nobody holds of a partition.
func (d *drain) drainPartition(i int) error {
	pos, log := d.positions[i], d.topic.Partitions[i]
	for d.left != 0 {
		free := pos.Free(d.ends[i])
		if free.From >= free.To {
			return nil
		}
		err := d.load(log, free.From)
		if errors.Is(err, store.ErrOutOfRange) {
			start, _ := log.Offsets()
			return d.missing(pos, free, start, answer("GAP", "first=%d", start))
		}
		var gap *store.GapError
		if errors.As(err, &gap) {
			return d.missing(pos, free, gap.Next, answer("GAP", "first=%d", gap.Next))
		}
		var damage *store.DamageError
		if errors.As(err, &damage) {
			return d.missing(pos, free, damage.Next, d.damaged(damage))
		}
		if err != nil {
			return toAnswer(err)
		}
		span := group.Span{From: free.From, To: min(free.To, d.loadedEnd())}
		if d.left > 0 {
			span.To = min(span.To, span.From+d.left)
		}
		if !pos.Lease(&d.member, span) {
			continue // another member was faster
		}
		if err := d.send(i, span); err != nil {
			return err
		}
	}
	return nil
}

// missing tells the client that there is nothing up to next, so that its
// position moves there when it has read that.
func (d *drain) missing(pos *group.Position, free group.Span, next int64, told error) error {
	if next > free.From && !pos.Lease(&d.member, group.Span{From: free.From, To: min(free.To, next)}) {
		return nil // for another member to tell
	}
	return told
}

// readChunk is how much is read from the log at once, in bytes. A batch that is
// larger is read whole.
const readChunk = 128 << 10

// load reads the batches from offset on.
func (d *drain) load(log store.Partition, offset int64) error {
	if err := log.Read(offset, readChunk, &d.chunk); err != nil {
		return err
	}
	if n := d.chunk.Len(); n > readChunk && n > d.taken {
		if !d.broker.Budget.Take(n - d.taken) {
			return &answerError{"BUSY", errBusy}
		}
		d.taken = n
	}
	if d.buf == nil {
		d.buf = loads.Get().(*[]byte)
	}
	p, err := d.chunk.Load(*d.buf)
	if err != nil {
		return err
	}
	*d.buf, d.loaded = p, p
	return nil
}

var loads = sync.Pool{New: func() any { return new([]byte) }}

// unload gives the memory back; what was loaded has to be read again.
func (d *drain) unload() {
	if d.buf != nil && cap(*d.buf) <= 2*readChunk {
		loads.Put(d.buf)
	}
	d.buf, d.loaded = nil, nil
	d.slice, d.it = batch.Builder{}, batch.Iterator{}
}

// loadedEnd is the offset behind what is loaded.
func (d *drain) loadedEnd() (end int64) {
	for p := d.loaded; len(p) > 0; {
		b, rest, err := batch.Next(p)
		if err != nil {
			break
		}
		end, p = b.NextOffset(), rest
	}
	return end
}

// send sends the messages in span of what is loaded.
func (d *drain) send(partition int, span group.Span) error {
	for at := span.From; at < span.To; {
		if len(d.loaded) == 0 { // given up while the reader stalled
			if err := d.load(d.topic.Partitions[partition], at); err != nil {
				return toAnswer(err)
			}
		}
		b, rest, err := batch.Next(d.loaded)
		if err != nil {
			return toAnswer(err) // Load has checked it
		}
		d.loaded = rest
		part := group.Span{From: max(at, b.BaseOffset()), To: min(span.To, b.NextOffset())}
		if d.request.format == formatBatch {
			at, err = d.sendBatch(partition, b, part)
		} else {
			at, err = d.sendRecords(partition, b, part)
		}
		if err != nil {
			return err
		}
	}
	if d.left > 0 {
		d.left -= span.To - span.From
	}
	return nil
}

// sendRecords sends the records in span as lines, and returns the offset behind
// those it has dealt with: fewer when the reader stalls.
func (d *drain) sendRecords(partition int, b batch.Batch, span group.Span) (int64, error) {
	if err := d.it.Reset(b); err != nil {
		return 0, d.undecodable(partition, b, err)
	}
	for d.it.Next() {
		r := d.it.Record()
		if r.Offset < span.From {
			continue
		}
		if r.Offset >= span.To {
			return span.To, nil
		}
		d.appendRecord(partition, r)
		if len(d.out) < broker.SendBuffer {
			continue
		}
		next := r.Offset + 1
		if err := d.flush(); err != nil {
			return 0, err
		}
		if d.loaded == nil { // and with it what r points to
			return next, nil
		}
	}
	if err := d.it.Err(); err != nil {
		return 0, d.undecodable(partition, b, err)
	}
	return span.To, nil
}

// undecodable is for a batch whose records can't be read although its checksum
// is right. Batches are checked when they come in, so it takes a log that was
// written by another program, or with other limits.
func (d *drain) undecodable(partition int, b batch.Batch, err error) error {
	d.positions[partition].GiveBack(&d.member, b.NextOffset())
	return d.damaged(&store.DamageError{
		Topic: d.topic.Name, Partition: partition, First: b.BaseOffset(), Next: b.NextOffset(), Reason: err,
	})
}

// damaged reports damage in the log, and makes the answer for the client.
func (d *drain) damaged(e *store.DamageError) error {
	d.server.log.Error("stored messages are damaged", "topic", e.Topic, "partition", e.Partition,
		"first", e.First, "next", e.Next, "file", e.File, "byte", e.Pos, "reason", e.Reason)
	return answer("DAMAGED", "%s/%d: offsets %d to %d can't be read", e.Topic, e.Partition, e.First, e.Next-1)
}

func (d *drain) appendRecord(partition int, r *batch.Record) {
	switch {
	case d.request.format == formatJSON:
		d.out = record.AppendJSON(d.out, d.topic.Name, partition, r)
	case d.request.keyed:
		d.out = append(append(d.out, r.Key...), '\t')
		d.out = append(d.out, r.Value...)
	default:
		d.out = append(d.out, r.Value...)
	}
	d.out = append(d.out, '\n')
}

// sendBatch sends a batch as it is stored, or the part of it in span, and returns
// the offset behind it; the first one when it was given up as the reader stalled.
func (d *drain) sendBatch(partition int, b batch.Batch, span group.Span) (int64, error) {
	if d.partition != partition {
		d.partition = partition
		d.out = append(strconv.AppendInt(append(d.out, '@'), int64(partition), 10), '\n')
	}
	large := len(b) > broker.SendBuffer/2
	if large || len(d.out)+len(b) > broker.SendBuffer {
		if err := d.flush(); err != nil {
			return 0, err
		}
		if d.loaded == nil { // and with it b
			return span.From, nil
		}
	}
	if span.From > b.BaseOffset() || span.To < b.NextOffset() {
		d.slice.Reset()
		if err := batch.Slice(&d.slice, &d.it, b, span.From, span.To); err != nil {
			return 0, d.undecodable(partition, b, err)
		}
		b = d.slice.Bytes()
	}
	if large {
		return span.To, d.write(b)
	}
	d.out = append(d.out, b...)
	return span.To, nil
}

// end tells the client why there is no more, if there is a reason, and finds
// out whether it has read everything.
func (d *drain) end(err error) error {
	var told *answerError
	switch {
	case errors.As(err, &told):
		d.out = append(d.out, told.line()...)
	case err != nil:
		return err
	case d.request.format == formatBatch:
		d.out = append(d.out, ".\n"...)
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.unload()
	d.out = nil
	d.chunk.Release()
	if err := d.handOver(); err != nil {
		return err
	}
	for _, p := range d.positions {
		p.Ack(&d.member)
	}
	return nil
}

// release gives back what has not been acknowledged.
func (d *drain) release() {
	for _, p := range d.positions {
		p.Release(&d.member)
		p.Close()
	}
	d.unload()
	d.chunk.Release()
	d.broker.Budget.Give(d.taken)
}

// stallTime is how long a write may take before the memory that is not needed
// meanwhile is given back.
const stallTime = 250 * time.Millisecond

// flush writes out. If the reader stalls, what is loaded is given up, so that
// the connection costs no more than out while it waits.
func (d *drain) flush() error {
	n, err := d.writeQuickly(d.out)
	if isTimeout(err) {
		d.unload()
		err = d.writeSlowly(d.out[n:])
	}
	if d.out = d.out[:0]; cap(d.out) > 2*broker.SendBuffer {
		d.out = nil // grown for a large message
	}
	if d.buf == nil {
		d.broker.Budget.Give(d.taken)
		d.taken = 0
	}
	return err
}

// write writes p, which is part of what is loaded.
func (d *drain) write(p []byte) error {
	n, err := d.writeQuickly(p)
	if isTimeout(err) {
		err = d.writeSlowly(p[n:])
	}
	return err
}

func (d *drain) writeQuickly(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	d.tcp.SetWriteDeadline(time.Now().Add(min(stallTime, d.broker.Limits.WriteTime)))
	return d.tcp.Write(p)
}

// writeSlowly writes p to a reader that must take something within WriteTime,
// again and again.
func (d *drain) writeSlowly(p []byte) error {
	for {
		d.tcp.SetWriteDeadline(time.Now().Add(d.broker.Limits.WriteTime))
		n, err := d.tcp.Write(p)
		if p = p[n:]; n == 0 || err == nil || !isTimeout(err) {
			return err
		}
	}
}
