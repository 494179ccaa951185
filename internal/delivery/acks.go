package delivery

import (
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
)

// A Failure is how a client wants a message that has failed to be treated. With the zero value it
// is delivered again as the session's options say.
type Failure struct {
	Retry    time.Duration // until the message comes again, if HasRetry
	HasRetry bool
	Dead     bool // it does not come again
	Reason   string
}

// applied is how a message is treated that would be treated as r says.
func (f *Failure) applied(r group.Retry) group.Retry {
	switch {
	case f.Dead:
		r.Attempts = 1
	case f.HasRetry:
		r.Backoff, r.Bound = f.Retry, f.Retry
	}
	return r
}

func noDeadLetters(topic string) error {
	return errorf(ErrNoDeadLetters, "topic %q has no dead letters of its own: acknowledge the message, or let it come again", topic)
}

// Sent is the number of messages that have been sent, and may be acknowledged.
func (s *Session) Sent() uint64 { return s.sub.member.Sent() }

// Extend says that the client is still at work.
func (s *Session) Extend() {
	s.deadline.extend(func() bool { return s.sub.member.Oldest() == 0 })
}

// Ack says that the first n messages of the session are done, but for those that have
// failed; with 0, or a number again, only that the client is still at work. The error is
// group.ErrNotSent.
func (s *Session) Ack(n uint64) error {
	if err := s.sub.member.Ack(n); err != nil {
		return err
	}
	s.Extend()
	if n == 0 {
		return nil
	}
	if s.options.Confirm {
		s.confirms.begin(n)
		s.awaitDurable(n, nil)
	}
	s.resume()
	return nil
}

// AckRange says that these messages are done. The error is group.ErrNotSent.
func (s *Session) AckRange(r Range) error {
	n, err := s.sub.member.AckSome(r.First, r.Last)
	if err != nil {
		return err
	}
	s.Extend()
	if n == 0 {
		return nil
	}
	if s.options.Confirm {
		s.ranges = append(s.ranges, r)
	}
	s.resume()
	return nil
}

// Nack says that message n has failed. The error is group.ErrNotSent, or ErrNoDeadLetters.
func (s *Session) Nack(n uint64, f Failure) error {
	if f.Dead && !broker.HasDeadLetters(s.options.Topic) {
		return noDeadLetters(s.options.Topic)
	}
	failed, ok, err := s.sub.member.Fail(n, f.applied(s.options.retry()), time.Now())
	if err != nil {
		return err
	}
	s.Extend()
	if !ok {
		return nil
	}
	s.bury(failed, f.Reason)
	s.blocked.Store(false)
	s.pump.wake()
	return nil
}

// resume wakes the pump if it waits for acknowledgements.
func (s *Session) resume() {
	if s.blocked.Swap(false) || !s.options.Follow {
		s.pump.wake()
	}
}

// bury writes a dead message to the dead letters.
func (s *Session) bury(failed group.Failed, reason string) {
	if failed.Dead {
		s.burials.Add(1)
		s.sub.broker.Bury(s.sub.topic, failed, reason, s.burials.Done)
	}
}
