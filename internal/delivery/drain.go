package delivery

import (
	"errors"
	"time"

	"mbus/internal/broker"
)

// Drain sends the messages that the group has not consumed, up to the end that the topic had at
// first, and then those that other members give back within the settling time. The error is an
// *Error for the client, or one of the transport.
func (s *Session) Drain() error {
	found, err := s.findAndJoin()
	if err != nil || !found {
		return err
	}
	if err := s.sub.begin(); err != nil {
		return err
	}
	var settled <-chan time.Time
	for {
		if err := s.sendAll(true); err != nil {
			return err
		}
		if err := s.sender.flush(); err != nil || s.sender.left == 0 {
			return err
		}
		changed := s.others()
		if s.sub.anyFree() {
			continue // given back while others were looked at, or a reader was slow
		}
		if changed == nil {
			return s.sub.deleted()
		}
		s.ReleaseBuffers()
		if settled == nil {
			settled = time.After(s.sub.broker.Limits.SettleTime)
		}
		select {
		case <-changed:
		case <-time.After(lookTime):
			if _, err := s.sink.Received(); err != nil {
				return err // others wait for the messages that this one holds
			}
		case <-settled:
			return s.sub.deleted()
		}
	}
}

// lookTime is the interval at which a drain that waits looks whether its client is still there.
const lookTime = 20 * time.Millisecond

// findAndJoin finds the topic and joins the group, and reports false if there is no topic.
func (s *Session) findAndJoin() (bool, error) {
	t, err := s.options.Find()
	exists := !errors.Is(err, broker.ErrUnknownTopic)
	if !exists && !s.options.StartEnd {
		return false, nil
	}
	if err != nil && exists {
		return false, forClient(err)
	}
	s.sub.topic = t
	if err := s.sub.join(nil); err != nil {
		return false, err
	}
	if !exists {
		return false, s.sub.expect()
	}
	return true, nil
}

// others is closed when another member has given back a message; nil if none holds one.
func (s *Session) others() <-chan struct{} {
	for _, p := range s.sub.partitions {
		if c := p.pos.LeaseEnded(&s.sub.member, p.end); c != nil {
			return c
		}
	}
	return nil
}
