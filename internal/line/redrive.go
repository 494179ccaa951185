package line

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/record"
	"mbus/internal/store"
)

// A redrive is a consumer of a topic of dead letters, on whose behalf the broker
// puts each back on the topic that it came from. A message is consumed when it
// is durable there, and counted to the client when that is durable, too: what the
// client has been told of is not put back again, whatever ends the redrive.
type redrive struct {
	*consumer
	answers *answers
}

func (c *conn) redrive(r *request) error {
	if !c.server.finish(c) {
		return answer("SHUTDOWN", "the broker is stopping")
	}
	d := &redrive{newConsumer(c, r), newAnswers(c)}
	d.answers.before = d.consumed
	defer d.release()
	err := d.run()
	told, failure := d.answers.finish()
	if err == nil {
		err = failure
	}
	if err != nil {
		return toAnswer(err)
	}
	if told == 0 {
		return c.say("+0\n")
	}
	return nil
}

// consumed says that the first n messages are durable where they came from, and waits
// until that is durable.
func (d *redrive) consumed(n uint64) error {
	if err := d.member.Ack(n); err != nil {
		return err
	}
	return d.broker.AwaitPositions()
}

func (d *redrive) run() (err error) {
	if d.topic, err = d.request.find(d.broker); errors.Is(err, store.ErrUnknownTopic) {
		return nil
	}
	if err != nil {
		return toAnswer(err)
	}
	if err := d.join(); err != nil {
		return err
	}
	if err := d.begin(); err != nil {
		return err
	}
	for _, p := range d.inTurn() {
		if err := d.partition(p); err != nil {
			return err
		}
	}
	return nil
}

// partition puts back what nobody holds of a partition.
func (d *redrive) partition(p *part) error {
	for d.left != 0 {
		free, _ := p.pos.Free(p.end, time.Now())
		if free.Len() <= 0 {
			return nil
		}
		s := group.Span{From: free.From, To: free.From + 1}
		if !d.member.Lease(p.pos, s, 0) {
			continue // another member was faster
		}
		d.served(p)
		err := broker.WithRecord(p.log, s.From, d.putBack)
		if isLost(err) {
			d.member.GiveBack(p.pos, s.From)
			err = d.passOver(p, free, err)
		} else if err != nil {
			err = fmt.Errorf("offset %d: %w", s.From, err)
		}
		if err != nil {
			return err
		}
		if d.left > 0 {
			d.left--
		}
	}
	return nil
}

// isLost says whether a log has a message no more, or can't read it.
func isLost(err error) bool {
	var gap *store.GapError
	var damage *store.DamageError
	return errors.As(err, &gap) || errors.As(err, &damage) || errors.Is(err, store.ErrOutOfRange)
}

// passOver makes the answer for dead letters that are lost. They count as consumed, so
// that a next redrive goes on behind them.
func (d *redrive) passOver(p *part, free group.Span, err error) error {
	told := d.unreadable(p, free, err)
	d.lost.AckAll()
	return told
}

// putBack publishes a dead letter where it came from.
func (d *redrive) putBack(r *batch.Record) error {
	var name string
	var headers []batch.Header
	for k, v := range r.Headers() {
		if string(k) == broker.HeaderTopic {
			name = string(v)
		}
		if !dead(string(k)) {
			headers = append(headers, batch.Header{Key: string(k), Value: v})
		}
	}
	if err := record.CheckName("topic", name); err != nil {
		return answer("BADMESSAGE", "header %q: %w", broker.HeaderTopic, err)
	}
	t, err := d.broker.MakeTopic(name, "client", d.tcp.RemoteAddr())
	if err != nil {
		return err
	}
	var b batch.Builder
	b.Add(r.Timestamp, r.Key, r.Value, headers...)
	b.Close(0)
	number := d.answers.expect(1, 1)
	broker.AppendDurably(t.For(r.Key), b.Bytes(), func(err error) { d.answers.settle(number, err) })
	return d.answers.failure()
}

// dead says whether a header is one that only a dead letter has.
func dead(header string) bool {
	switch header {
	case broker.HeaderTopic, broker.HeaderPartition, broker.HeaderOffset, broker.HeaderGroup, broker.HeaderAttempts, broker.HeaderReason:
		return true
	}
	return strings.EqualFold(header, broker.HeaderDeliverAt)
}
