package line

import (
	"errors"
	"iter"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// A consumer is a connection that gets a group's messages, or, with from, looks
// at a topic without consuming. Those that drain and those that follow differ in
// when they send and how they end.
type consumer struct {
	sender
	parts       []part
	member      group.Member
	waiter      *group.Waiter // nil for one that waits for nothing
	lost        group.Member  // holds what the client was told is missing
	holes       []hole        // in logs, of which the client was told
	left        int64         // messages that may still be sent; -1 for all
	recordSpans []group.Span  // of the stretch that is sent, in a buffer that is used again
	oneSpan     [1]group.Span // that buffer, where no offset is missing
	early       bool          // the topic was made after the request came
	turn        int           // number of the part that is looked at next; may be one too many
	leave       func()        // the group; nil without one
}

// A hole is a part of a log of which nothing can be had any more.
type hole struct {
	pos *group.Position
	group.Span
}

// A part is one partition of what a consumer gets.
type part struct {
	number int
	pos    *group.Position
	log    *broker.Partition
	end    int64 // nothing from here on is sent
}

func newConsumer(c *conn, r *request) *consumer {
	k := &consumer{sender: sender{conn: c, request: r, partition: -1}, left: -1}
	if r.n > 0 {
		k.left = r.n
	}
	return k
}

// consume serves a consumer's connection.
func (c *conn) consume() error {
	r, err := c.readRequest(consumerOptions)
	if err != nil {
		return ignoreEOF(err)
	}
	switch {
	case r.admin != nil:
		return c.administer(r)
	case r.redrive:
		return c.redrive(r)
	case r.follow || r.ack:
		return c.follow(r)
	}
	return c.drain(r)
}

// gone is the answer where the topic was deleted, and nil else. It is for those who
// find nothing more to send.
func (k *consumer) gone() error {
	if k.topic.Deleted() {
		return answer("GONE", "the topic %q was deleted", k.topic.Name)
	}
	return nil
}

// join makes the consumer a member of its group. yield has it give way, see
// group.Groups.JoinUntil; nil for one that does not.
func (k *consumer) join(yield func() bool) (err error) {
	if k.request.from != nil {
		return nil
	}
	use := broker.UseLine
	if k.request.ordered {
		use = broker.UseOrdered
	}
	use.Topic, use.Client = k.request.topic, k.net.RemoteAddr().String()
	if k.leave, err = k.broker.UseGroupUntil(k.request.group, use, yield); err != nil {
		return toAnswer(err)
	}
	return nil
}

// begin finds the positions in the topic, and notes where it ends.
func (k *consumer) begin() error {
	if f := k.request.from; f != nil {
		if err := f.check(len(k.topic.Partitions())); err != nil {
			return err
		}
	}
	for i, log := range k.topic.Partitions() {
		pos, err := k.position(i, log)
		if err != nil {
			return err
		}
		_, high := log.Offsets()
		k.parts = append(k.parts, part{i, pos, log, high})
	}
	if k.left >= 0 || k.request.follow || k.request.ack {
		k.turn = k.parts[0].pos.Turn()
	}
	return nil
}

// inTurn lists all parts once. It begins behind the one that was served last, by
// this consumer or before it came by another of its group: no partition waits for
// another one to be empty.
func (k *consumer) inTurn() iter.Seq2[int, *part] {
	first := k.turn
	return func(yield func(int, *part) bool) {
		for j := range k.parts {
			i := (first + j) % len(k.parts)
			if !yield(i, &k.parts[i]) {
				return
			}
		}
	}
}

// served says that messages of a part have been leased, and are sent now: what is left
// of those for which the consumer was woken is for others meanwhile.
func (k *consumer) served(p *part) {
	k.turn = p.number + 1
	p.pos.Served()
	if k.waiter != nil {
		k.waiter.PassOn()
	}
}

// expect is for a topic that does not exist. What will come in it comes after the request:
// with start=end the group begins at its first message, and that is kept.
func (k *consumer) expect() error {
	k.early = true
	if !k.request.startEnd {
		return nil
	}
	if err := k.broker.ExpectTopic(k.request.group, k.request.topic); err != nil {
		return toAnswer(err)
	}
	return nil
}

// position is where the consumer begins in a partition.
func (k *consumer) position(i int, log *broker.Partition) (*group.Position, error) {
	start, _ := log.Offsets()
	if f := k.request.from; f != nil {
		if k.early && f.fromEnd() {
			return group.NewPosition(start), nil
		}
		offset, err := f.in(i, log)
		return group.NewPosition(offset), err
	}
	pos, err := k.broker.Position(k.request.group, k.topic, i)
	if err != nil {
		return nil, toAnswer(err)
	}
	switch {
	case k.request.startEnd:
		k.broker.StartAtEnd(pos, k.topic, i)
	case k.request.group != group.Default: // which is there from the first message on
		pos.Start(start, false)
	}
	return pos, nil
}

// sendFree sends up to most messages that nobody holds of a partition, as many as one look
// into the log gives. It returns how many were sent; 1 if none were, and another look may
// find some.
func (k *consumer) sendFree(p *part, end, most int64) (sent int64, err error) {
	if k.left >= 0 {
		most = min(most, k.left)
	}
	if most <= 0 {
		return 0, nil
	}
	free, _ := p.pos.Free(end, time.Now())
	if free.Len() <= 0 {
		return 0, nil
	}
	k.stalled = false
	if err := k.loadFew(p.log, free.From, free.To, most); err != nil {
		return 0, k.unreadable(p, free, err)
	}
	s, err := k.stretch(p, free, most)
	var damage *broker.DamageError
	switch {
	case errors.As(err, &damage):
		return 0, k.unreadable(p, free, err)
	case err != nil:
		return 0, err
	case len(s.runs) == 0:
		p.pos.Skip(s.Span)
		return 1, nil // look again
	}
	before := k.member.Sent()
	err = k.sendStretch(p, s)
	sent = int64(k.member.Sent() - before)
	if k.left > 0 {
		k.left -= sent
	}
	return max(1, sent), err
}

// sendStretch leases the records of a stretch, if nobody was faster, and sends them.
func (k *consumer) sendStretch(p *part, s stretch) error {
	if k.request.ordered {
		return k.sendOrdered(p, s)
	}
	if !k.member.LeaseRecords(p.pos, s.Span, s.runs, s.bytes) {
		return nil
	}
	k.served(p)
	return k.send(p, s.Span)
}

// perMessage is how many bytes are read for each message that is wanted, to save
// reading a great deal for one.
const perMessage = 512

// send sends the messages in span, which the member holds, of what is loaded.
// What it fails to read again, or finds changed, it gives back.
func (k *consumer) send(p *part, span group.Span) error {
	for at := span.From; at < span.To; {
		if len(k.loaded) == 0 { // given up while the reader stalled
			if err := k.loadAgain(p.log, at, span.To); err != nil {
				k.member.GiveBack(p.pos, at)
				return k.unreadable(p, group.Span{From: at, To: span.To}, err)
			}
			if again, err := k.stretch(p, group.Span{From: at, To: span.To}, maxChunk); err != nil || again.records != k.member.Records(p.pos, again.Span) {
				k.member.GiveBack(p.pos, at)
				return nil // its numbers would be wrong: look again
			}
		}
		b, rest, err := batch.Next(k.loaded)
		if err != nil {
			return toAnswer(err) // Load has checked it
		}
		if k.loaded = rest; b.NextOffset() <= at {
			continue
		}
		if !hasMessages(b) {
			at = min(span.To, b.NextOffset())
			continue
		}
		part := group.Span{From: at, To: min(span.To, b.NextOffset())}
		if k.request.ack && k.request.format != formatLines {
			k.again = p.pos.FailuresIn(part)
		}
		next, err := k.sendPart(p.number, b, part)
		if err != nil {
			return k.undecodable(p, at, err)
		}
		at = next
	}
	return nil
}

// unreadable makes the answer for a part of a partition that nobody holds and
// that load has failed for.
func (k *consumer) unreadable(p *part, free group.Span, err error) error {
	if errors.Is(err, broker.ErrOutOfRange) {
		start, _ := p.log.Offsets()
		k.holes = append(k.holes, hole{p.pos, group.Span{To: start}})
		return k.missing(p, free, start, goneBelow(start, p.number))
	}
	var gap *broker.GapError
	if errors.As(err, &gap) {
		return k.missing(p, free, gap.Next, goneBelow(gap.Next, p.number))
	}
	var damage *broker.DamageError
	if errors.As(err, &damage) {
		return k.missing(p, free, damage.Next, k.damaged(damage, free.From))
	}
	return toAnswer(err)
}

// goneBelow tells programs, and then people, where the messages of a partition go on.
func goneBelow(first int64, partition int) error {
	return answer("GAP", "first=%d partition=%d: the messages below offset %d are gone, removed by retention or lost", first, partition, first)
}

// missing tells the client that there is nothing up to next, so that its
// position moves there when it has read that.
func (k *consumer) missing(p *part, free group.Span, next int64, told error) error {
	if next > free.From && !k.lost.Lease(p.pos, group.Span{From: free.From, To: min(free.To, next)}, 0) {
		return nil // for another member to tell
	}
	k.holes = append(k.holes, hole{p.pos, group.Span{From: free.From, To: next}})
	return told
}

// undecodable deals with a batch, leased from offset at on, that can't be
// decoded; other errors stay what they are.
func (k *consumer) undecodable(p *part, at int64, err error) error {
	var damage *broker.DamageError
	if !errors.As(err, &damage) {
		return err
	}
	k.member.GiveBack(p.pos, at)
	return k.missing(p, group.Span{From: at, To: damage.Next}, damage.Next, k.damaged(damage, at))
}

// damaged reports damage in the log, and makes the answer for the client, of which
// the offsets below from are no concern.
func (k *consumer) damaged(e *broker.DamageError, from int64) error {
	k.server.log.Error("stored messages are damaged", "topic", e.Topic, "partition", e.Partition,
		"first", e.First, "next", e.Next, "file", e.File, "byte", e.Pos, "reason", e.Reason)
	return answer("DAMAGED", "%s/%d: offsets %d to %d can't be read", e.Topic, e.Partition, max(e.First, from), e.Next-1)
}

// last adds to out what tells the client why there is no more. It returns err if
// the client is not to be told.
func (k *consumer) last(err error) error {
	var a *answerError
	switch {
	case errors.As(err, &a):
		k.out = append(k.out, k.told(a)...)
	case err != nil:
		return err
	case k.request.format == formatBatch:
		k.out = append(k.out, ".\n"...)
	}
	return nil
}

// confirmClose closes the connection, and lets what was sent count, if the client has read it.
// It does not wait to find that out where nothing counts: nothing was sent, or nothing is
// moved by it.
func (k *consumer) confirmClose() error {
	if k.request.from != nil || k.member.Oldest() == 0 && len(k.holes) == 0 {
		return k.closeInOrder()
	}
	if err := k.conn.confirmClose(); err != nil {
		return err
	}
	k.member.AckAll()
	k.passed()
	return nil
}

// passed says that the client knows of what is missing: of all that nobody holds there, so
// that it is told once.
func (k *consumer) passed() {
	k.lost.AckAll()
	for _, h := range k.holes {
		h.pos.ConsumeMissing(h.Span)
	}
}

// release gives back what has not been acknowledged.
func (k *consumer) release() {
	if k.request.ack {
		k.member.Keep()
	}
	k.member.Release()
	k.lost.Release()
	for _, p := range k.parts {
		p.pos.Close()
	}
	k.parts = nil
	if k.leave != nil {
		k.leave()
	}
	k.close()
}
