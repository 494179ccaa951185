package line

import (
	"errors"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/store"
)

// A drain is a consumer's connection that gets what its group has not consumed,
// up to the end of the topic as it stood when the request came.
type drain struct {
	sender
	ends      []int64 // of each partition
	positions []*group.Position
	member    group.Member
	left      int64 // messages that may still be sent; -1 for all
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
	d := &drain{sender: sender{conn: c, request: r, partition: -1}, left: -1}
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
	for {
		for i := range d.positions {
			if err := d.drainPartition(i); err != nil {
				return err
			}
		}
		if err := d.flush(); err != nil || d.left == 0 {
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
		case <-time.After(lookTime):
			if _, err := d.closedEarly(); err != nil {
				return err // others wait for what this one holds
			}
		case <-settled:
			return nil
		}
	}
}

// lookTime is how often a drain that waits looks whether its client is still there.
const lookTime = 20 * time.Millisecond

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
		if err := d.load(log, free.From); err != nil {
			return d.unreadable(i, free, err)
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

// unreadable makes the answer for a part of a partition that nobody holds and
// that load has failed for.
func (d *drain) unreadable(i int, free group.Span, err error) error {
	if errors.Is(err, store.ErrOutOfRange) {
		start, _ := d.topic.Partitions[i].Offsets()
		return d.missing(d.positions[i], free, start, answer("GAP", "first=%d", start))
	}
	var gap *store.GapError
	if errors.As(err, &gap) {
		return d.missing(d.positions[i], free, gap.Next, answer("GAP", "first=%d", gap.Next))
	}
	var damage *store.DamageError
	if errors.As(err, &damage) {
		return d.missing(d.positions[i], free, damage.Next, d.damaged(damage))
	}
	return toAnswer(err)
}

// missing tells the client that there is nothing up to next, so that its
// position moves there when it has read that.
func (d *drain) missing(pos *group.Position, free group.Span, next int64, told error) error {
	if next > free.From && !pos.Lease(&d.member, group.Span{From: free.From, To: min(free.To, next)}) {
		return nil // for another member to tell
	}
	return told
}

// send sends the messages in span of what is loaded. What it fails to read again
// it gives back.
func (d *drain) send(partition int, span group.Span) error {
	for at := span.From; at < span.To; {
		if len(d.loaded) == 0 { // given up while the reader stalled
			if err := d.load(d.topic.Partitions[partition], at); err != nil {
				d.positions[partition].GiveBack(&d.member, at)
				return d.unreadable(partition, group.Span{From: at, To: span.To}, err)
			}
		}
		b, rest, err := batch.Next(d.loaded)
		if err != nil {
			return toAnswer(err) // Load has checked it
		}
		d.loaded = rest
		part := group.Span{From: max(at, b.BaseOffset()), To: min(span.To, b.NextOffset())}
		next, err := d.sendPart(partition, b, part)
		if err != nil {
			return d.undecodable(partition, part, err)
		}
		if d.left > 0 {
			d.left -= next - at
		}
		at = next
	}
	return nil
}

// undecodable deals with a batch, leased as part of span, that can't be decoded;
// other errors stay what they are.
func (d *drain) undecodable(partition int, span group.Span, err error) error {
	var damage *store.DamageError
	if !errors.As(err, &damage) {
		return err
	}
	pos := d.positions[partition]
	pos.GiveBack(&d.member, damage.Next)
	pos.Lease(&d.member, group.Span{From: span.To, To: damage.Next}) // what n leaves out is lost, too
	return d.damaged(damage)
}

// damaged reports damage in the log, and makes the answer for the client.
func (d *drain) damaged(e *store.DamageError) error {
	d.server.log.Error("stored messages are damaged", "topic", e.Topic, "partition", e.Partition,
		"first", e.First, "next", e.Next, "file", e.File, "byte", e.Pos, "reason", e.Reason)
	return answer("DAMAGED", "%s/%d: offsets %d to %d can't be read", e.Topic, e.Partition, e.First, e.Next-1)
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
	d.close()
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
	d.close()
}
