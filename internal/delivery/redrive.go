package delivery

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// A redrive takes letters out of a topic of dead letters, on behalf of a client: the broker
// gives each back to the group that failed it, or publishes it again. It goes in steps. Letters
// are consumed when their messages are durable where they went, and counted to the client when
// that is durable, too. So letters that were counted are not moved again, whatever ends the
// redrive, and of the others no more than a step.
type redrive struct {
	sub      subscription
	options  Options
	toAll    bool
	progress func(moved uint64) error
	back     *broker.Redrive
	kept     group.Member // of letters that stay, until the end
	left     int64        // letters that may still be moved; -1 for all
	discards bool         // letters are consumed, and not moved
	redriven Redriven
	step     step
}

// Redriven is what a redrive has done.
type Redriven struct {
	Moved uint64 // letters that were counted to the client
	Stays Stays
	lost  []error // of letters that are lost, in the order of their places
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

func (s *step) isFull() bool { return s.seen >= redriveStep || s.bytes >= redriveBytes }

// Redrive moves dead letters back to the groups that failed them; with toAll it publishes
// all of them again. progress counts those that were moved for good. The error, if it is not
// progress's, is an *Error; after ErrGap and ErrDamaged, and ErrRedriveAgain, all others are moved.
func (h *Hub) Redrive(o Options, toAll bool, progress func(moved uint64) error) (Redriven, error) {
	r := &redrive{options: o, toAll: toAll, progress: progress}
	return r.do(h, r.all)
}

// do runs f, for which everything is prepared.
func (r *redrive) do(h *Hub, f func() error) (Redriven, error) {
	r.back, r.left = r.options.View.NewRedrive(r.options.Client), -1
	if r.options.N > 0 {
		r.left = r.options.N
	}
	r.sub.broker, r.sub.options = h.broker, &r.options
	defer r.sub.release()
	defer r.kept.Release()
	defer r.back.Close()
	err := r.run(f)
	r.audit()
	return r.redriven, err
}

// audit logs what was done.
func (r *redrive) audit() {
	o, moved, stay := r.options, r.redriven.Moved, r.redriven.Stays.Total()
	switch {
	case moved == 0 && stay == 0:
	case r.discards:
		auditDiscard(o, moved)
	default:
		broker.AuditChange(o.View, "redrive", broker.TopicResource, o.Topic, "group", o.Group, "all", r.toAll, "moved", moved, "stay", stay)
	}
}

// Err is the error about letters that are lost, or that stay only for now; nil if there are
// none.
func (r *Redriven) Err() error {
	if err := r.lostLetters(); err != nil {
		return err
	}
	return r.Stays.busy()
}

func (r *redrive) run(f func() error) error {
	t, err := r.options.Find()
	if errors.Is(err, broker.ErrUnknownTopic) {
		return nil
	}
	if err != nil {
		return forClient(err)
	}
	r.sub.topic = t
	if err := r.sub.join(nil); err != nil {
		return err
	}
	if err := r.sub.begin(); err != nil {
		return err
	}
	return f()
}

// all moves the letters of all partitions.
func (r *redrive) all() error {
	first := r.sub.firstTurn()
	for i := range r.sub.partitions {
		if err := r.partition(r.sub.turn(first + i)); err != nil {
			return err
		}
	}
	return nil
}

// partition moves the letters of a partition that nobody holds.
func (r *redrive) partition(p *partition) error {
	for more := true; more && r.left != 0; {
		if !p.pos.Remembers(redriveStep) {
			return errorf(ErrRedriveAgain, "too many letters that stay lie between those that are moved: consume or move them, and redrive again")
		}
		var err error
		for !r.step.isFull() && r.left != 0 && more && err == nil {
			more, err = r.moveNext(p)
		}
		if e := r.completeStep(); e != nil {
			return e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveNext deals with the next letter of a partition, and reports false if there is none.
func (r *redrive) moveNext(p *partition) (more bool, err error) {
	free, _ := p.pos.Free(p.end, time.Now())
	if free.Len() <= 0 {
		return false, nil
	}
	return r.move(p, free)
}

// move deals with the first letter of a span.
func (r *redrive) move(p *partition, free group.Span) (more bool, err error) {
	s := group.Span{From: free.From, To: free.From + 1}
	if !r.sub.member.Lease(p.pos, s, 0) {
		return true, nil // another member was faster
	}
	r.sub.served(p)
	r.step.seen++
	err = broker.WithRecord(p.log, s.From, r.settle)
	var stays *broker.StayError
	var hole *broker.HoleError
	switch {
	case err == nil:
		if r.left > 0 {
			r.left--
		}
		return true, nil
	case errors.As(err, &stays):
		r.sub.member.GiveBack(p.pos, s.From)
		r.kept.Lease(p.pos, s, 0)
		r.redriven.Stays.add(stays)
		return true, nil
	}
	r.sub.member.GiveBack(p.pos, s.From)
	if errors.As(err, &hole) {
		p.pos.Skip(group.Span{From: s.From, To: min(free.To, hole.Next)})
		return true, nil
	}
	if broker.IsMissing(err) {
		return true, r.passOver(p, free, err)
	}
	return true, forClient(fmt.Errorf("offset %d: %w", s.From, err))
}

// passOver notes the error about letters that are lost. They count as consumed, so that the next
// redrive does not report them. It returns an error if there is nothing to pass over.
func (r *redrive) passOver(p *partition, free group.Span, err error) error {
	member := &r.sub.missing.member
	before := member.Sent()
	lost := r.sub.unreadable(p, free, err)
	switch {
	case lost == nil: // another member reports it
		return nil
	case member.Sent() == before:
		return lost
	}
	member.AckAll()
	r.redriven.lost = append(r.redriven.lost, lost)
	return nil
}

// lostLetters is the error about letters that are lost; nil if none are.
func (r *Redriven) lostLetters() error {
	if len(r.lost) == 0 {
		return nil
	}
	var first *Error
	if n := len(r.lost) - 1; n > 0 && errors.As(r.lost[0], &first) {
		return errorf(first.kind, "%w; places more that are damaged or gone: %d", first.err, n)
	}
	return r.lost[0]
}

// settle moves a letter, or discards it.
func (r *redrive) settle(record *batch.Record) error {
	if r.discards {
		r.step.results = append(r.step.results, nil)
		return nil
	}
	return r.putBack(record)
}

// putBack gives a letter back. A letter that a client made, which no group has failed, is
// published to the topic that it names. The error is a *broker.StayError, or one that ends the
// redrive.
func (r *redrive) putBack(record *batch.Record) error {
	l, err := broker.ReadLetter(record, r.toAll)
	if err != nil {
		return err
	}
	if l.Group == "" {
		return r.publish(l)
	}
	if err := r.back.Return(l); err != nil {
		return err
	}
	r.step.results, r.step.reopens = append(r.step.results, nil), true
	return nil
}

// publish appends a letter's message to its topic.
func (r *redrive) publish(l broker.Letter) error {
	t, err := r.options.View.MakeTopic(l.Topic)
	if errors.Is(err, broker.ErrInternalTopic) || errors.Is(err, broker.ErrNoAutoCreate) || errors.Is(err, broker.ErrTooManyTopics) {
		return &broker.StayError{Reason: fmt.Sprintf("topic %q takes none: %v", l.Topic, err), Do: "make the topic, or publish by hand to another one"}
	}
	if err != nil {
		return err
	}
	var b batch.Builder
	l.Message(&b)
	result := make(chan error, 1)
	r.step.results = append(r.step.results, result)
	r.step.bytes += len(b.Bytes())
	t.For(l.Key).AppendDurably(b.Bytes(), func(err error) { result <- err })
	return nil
}

// completeStep waits until the step's letters are durable where they went, consumes them, and
// counts them to the client when that is durable. If one fails, only those before it are
// consumed. If all of a full step stay, the client gets the count again: the redrive goes on.
func (r *redrive) completeStep() error {
	good, failure := 0, error(nil)
	for _, result := range r.step.results {
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
	reopens, isFull := r.step.reopens, r.step.isFull()
	r.step = step{}
	if reopens {
		if err := r.sub.broker.AwaitPositions(); err != nil {
			return forClient(err)
		}
	}
	switch {
	case good > 0:
		if err := r.consume(uint64(good)); err != nil {
			return err
		}
	case isFull && failure == nil:
		return r.progress(r.redriven.Moved)
	}
	return forClient(failure)
}

// consume consumes and counts n letters more, which are durable where they went.
func (r *redrive) consume(n uint64) error {
	if err := r.sub.member.Ack(r.redriven.Moved + n); err != nil {
		return forClient(err)
	}
	if err := r.sub.broker.AwaitPositions(); err != nil {
		return forClient(err)
	}
	r.redriven.Moved += n
	return r.progress(r.redriven.Moved)
}
