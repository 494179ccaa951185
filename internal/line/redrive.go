package line

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// A redrive is a consumer of a topic of dead letters, on whose behalf the broker gives
// each back to the group that failed it, or, with to=all, publishes it again. It goes
// in steps: letters are consumed when what has become of them is durable, and counted to
// the client when that is durable, too. So what the client has been told of is not moved
// again, whatever ends the redrive, and of the rest no more than a step.
type redrive struct {
	*consumer
	back  *broker.Redrive
	kept  group.Member // holds the letters that stay, until the end
	stays stays
	moved uint64  // letters that the client was told of
	holes []error // answers about letters that are lost, in the order of their places
	step  step
}

// redriveStep is how many letters are looked at, and moved if they can be, between two
// syncs of the positions, and how many bytes of them, at the most, are published.
const (
	redriveStep  = 256
	redriveBytes = 1 << 20
)

// A step is letters on their way: those that the member holds and that are not consumed.
type step struct {
	results []chan error // of those that are published; nil for those that were reopened
	reopens bool
	bytes   int // published
	seen    int // letters, also those that stay
}

func (s *step) full() bool { return s.seen >= redriveStep || s.bytes >= redriveBytes }

func (c *conn) redrive(r *request) error {
	if !c.server.finish(c) {
		return answer("SHUTDOWN", "the broker is stopping")
	}
	d := &redrive{consumer: newConsumer(c, r), back: c.broker.NewRedrive(c.net.RemoteAddr().String())}
	defer d.release()
	defer d.kept.Release()
	defer d.back.Close()
	return d.end(d.run())
}

// end tells the client what is left to tell. err is what has ended the redrive.
func (d *redrive) end(err error) error {
	if n := d.stays.total(); d.moved > 0 || n > 0 {
		d.did("dead letters redriven", "topic", d.request.topic, "group", d.request.group, "all", d.request.toAll, "moved", d.moved, "stay", n)
	}
	said := d.stays.lines()
	if d.moved == 0 && err == nil {
		said = "+0\n" + said
	}
	if e := d.say(said); e != nil {
		return e
	}
	if err != nil {
		return toAnswer(err)
	}
	if err := d.lostLetters(); err != nil {
		return err
	}
	return d.stays.busy()
}

func (d *redrive) run() (err error) {
	if d.topic, err = d.request.find(d.broker); errors.Is(err, broker.ErrUnknownTopic) {
		return nil
	}
	if err != nil {
		return toAnswer(err)
	}
	if err := d.join(nil); err != nil {
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

// partition moves what nobody holds of a partition.
func (d *redrive) partition(p *part) error {
	for more := true; more && d.left != 0; {
		if !p.pos.Remembers(redriveStep) {
			return answer("BUSY", "too many letters that stay lie between those that are moved: consume or move them, and redrive again")
		}
		var err error
		for !d.step.full() && d.left != 0 && more && err == nil {
			more, err = d.take(p)
		}
		if e := d.settle(); e != nil {
			return e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take deals with the next letter of a partition, and reports false if there is none.
func (d *redrive) take(p *part) (more bool, err error) {
	free, _ := p.pos.Free(p.end, time.Now())
	if free.Len() <= 0 {
		return false, nil
	}
	s := group.Span{From: free.From, To: free.From + 1}
	if !d.member.Lease(p.pos, s, 0) {
		return true, nil // another member was faster
	}
	d.served(p)
	d.step.seen++
	err = broker.WithRecord(p.log, s.From, d.putBack)
	var stays *broker.StayError
	switch {
	case err == nil:
		if d.left > 0 {
			d.left--
		}
		return true, nil
	case errors.As(err, &stays):
		d.member.GiveBack(p.pos, s.From)
		d.kept.Lease(p.pos, s, 0)
		d.stays.add(stays)
		return true, nil
	}
	d.member.GiveBack(p.pos, s.From)
	if broker.IsMissing(err) {
		return true, d.passOver(p, free, err)
	}
	return true, fmt.Errorf("offset %d: %w", s.From, err)
}

// passOver notes what the client is to be told of letters that are lost. They count as
// consumed, so that a next redrive says nothing of them. The error is for where there is
// nothing to pass over.
func (d *redrive) passOver(p *part, free group.Span, err error) error {
	before := d.lost.Sent()
	told := d.unreadable(p, free, err)
	switch {
	case told == nil: // another member tells its client
		return nil
	case d.lost.Sent() == before:
		return told
	}
	d.lost.AckAll()
	d.holes = append(d.holes, told)
	return nil
}

// lostLetters is the answer about letters that are lost; nil if none are.
func (d *redrive) lostLetters() error {
	if len(d.holes) == 0 {
		return nil
	}
	err := toAnswer(d.holes[0])
	var told *answerError
	if n := len(d.holes) - 1; n > 0 && errors.As(err, &told) {
		return answer(told.code, "%w; places more that are damaged or gone: %d", told.err, n)
	}
	return err
}

// putBack has a letter go back. One that a client made, which no group has failed, is
// published where it says that it belongs. The error is a *broker.StayError, or says why no
// letter can be moved.
func (d *redrive) putBack(r *batch.Record) error {
	l, err := broker.ReadLetter(r, d.request.toAll)
	if err != nil {
		return err
	}
	if l.Group == "" {
		return d.publish(l)
	}
	if err := d.back.Return(l); err != nil {
		return err
	}
	d.step.results, d.step.reopens = append(d.step.results, nil), true
	return nil
}

// publish appends a letter's message to its topic.
func (d *redrive) publish(l broker.Letter) error {
	t, err := d.broker.MakeTopic(l.Topic, "client", d.net.RemoteAddr())
	if errors.Is(err, broker.ErrInternalTopic) || errors.Is(err, broker.ErrNoAutoCreate) || errors.Is(err, broker.ErrTooManyTopics) {
		return &broker.StayError{Reason: fmt.Sprintf("topic %q takes none: %v", l.Topic, err), Do: "make the topic, or publish by hand to another one"}
	}
	if err != nil {
		return err
	}
	var b batch.Builder
	l.Message(&b)
	result := make(chan error, 1)
	d.step.results = append(d.step.results, result)
	d.step.bytes += len(b.Bytes())
	t.For(l.Key).AppendDurably(b.Bytes(), func(err error) { result <- err })
	return nil
}

// settle waits until what has become of the step's letters is durable, has them consumed,
// and tells the client when that is durable. Of a step in which one fails only those before
// it are. Of a step in which all stay it tells that it goes on.
func (d *redrive) settle() error {
	good, failure := 0, error(nil)
	for _, result := range d.step.results {
		var err error
		if result != nil {
			err = <-result
		}
		if failure == nil {
			failure = err
		}
		if failure == nil {
			good++
		}
	}
	reopens, full := d.step.reopens, d.step.full()
	d.step = step{}
	if reopens {
		if err := d.broker.AwaitPositions(); err != nil {
			return err
		}
	}
	switch {
	case good > 0:
		if err := d.consume(uint64(good)); err != nil {
			return err
		}
	case full && failure == nil:
		return d.tell()
	}
	return failure
}

// consume counts n letters more, of which all is durable that has become of them.
func (d *redrive) consume(n uint64) error {
	if err := d.member.Ack(d.moved + n); err != nil {
		return err
	}
	if err := d.broker.AwaitPositions(); err != nil {
		return err
	}
	d.moved += n
	return d.tell()
}

// tell tells the client how many letters were moved.
func (d *redrive) tell() error { return d.say(fmt.Sprintf("+%d\n", d.moved)) }
