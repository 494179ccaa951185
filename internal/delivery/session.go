package delivery

import (
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/units"
)

// A Session is a consumer of a group, or a replay. Either Drain sends all there is, in the
// goroutine of the caller; or Start has messages sent as they come, and the caller gives the
// client's acknowledgements to Ack, AckRange and Nack. Close ends both.
//
// After Start a pump sends. Its goroutine exists only while there may be messages to send, so
// that an idle session costs none. Every possible reason to send wakes it. Of the idle sessions
// of a group only one is woken for a message: see group.Waiter.
type Session struct {
	options Options
	sink    Sink
	sub     subscription
	sender  sender

	pump     pump
	deadline ackDeadline
	receipts receipts
	confirms confirms
	ranges   []Range // acknowledged, and not to be confirmed yet
	unawait  func()  // ends the wait for the topic; nil for none
	unwatch  func()  // ends the wait for new partitions, and the deletion; nil for none

	blocked atomic.Bool // the window is full
	away    atomic.Bool // ClientMayBeGone was called
	burials sync.WaitGroup
}

// NewSession makes one that has not begun.
func (h *Hub) NewSession(o Options, sink Sink) *Session {
	s := &Session{options: o, sink: sink}
	s.sub.broker, s.sub.options = h.broker, &s.options
	s.sender = newSender(h, &s.sub, sink)
	return s
}

// Start joins the group and begins to send. The error is an *Error.
func (s *Session) Start() error {
	s.pump.fn, s.pump.onError = s.guardedPush, s.options.OnEnd
	s.sub.waiter = group.NewWaiter(s.pump.wake)
	s.sender.follows = true
	if err := s.sub.join(s.yield); err != nil {
		return err
	}
	if s.options.AckTimeout > 0 {
		s.deadline.start(s)
	}
	s.pump.start()
	return nil
}

// Wake has the Sink flush, soon, although there may be nothing to send.
func (s *Session) Wake() { s.pump.wake() }

// Stop ends the sending, and returns the error that had ended it before: nil for none, io.EOF if
// all messages that were asked for were sent, an *Error for the client, or an error of the
// transport.
func (s *Session) Stop() error {
	ended := s.pump.stop(s.sink.Cut)
	for _, cancel := range []func(){s.unwatch, s.unawait} {
		if cancel != nil {
			cancel()
		}
	}
	s.unwatch, s.unawait = nil, nil
	if s.sub.waiter != nil {
		s.sub.waiter.Close()
	}
	return ended
}

// A Reason is why a session is closed.
type Reason int

// Why a session is closed.
const (
	Stopping Reason = iota // unacknowledged messages go to others
	Left                   // as Stopping, and acknowledgements are made durable
	Complete               // as Left, and the client has everything that was written, the error of the end included
	Received               // as Complete, but the client does not know of the error of the end
	Lost                   // as Left, but the oldest unacknowledged message has failed
)

// Close ends the session; only the first call counts. Without Ack all messages that were sent are
// consumed with Complete. After an error acknowledgements may not be durable.
func (s *Session) Close(why Reason) (err error) {
	s.deadline.stop()
	if s.pump.fn != nil {
		s.Stop()
	}
	switch why {
	case Complete, Received:
		s.complete(why == Complete)
		if s.options.Ack {
			err = s.awaitAllDurable()
		}
	case Left:
		err = s.awaitAllDurable()
	case Lost:
		s.lose()
		err = s.awaitAllDurable()
	}
	s.sub.release()
	s.ReleaseBuffers()
	return err
}

// complete says that the client has every message that was written, and the error of the end.
func (s *Session) complete(hasError bool) {
	if !s.options.Ack {
		s.sub.member.AckAll()
	}
	if hasError {
		s.sub.missing.passed()
	}
}

// awaitAllDurable waits until acknowledgements are durable, and dead messages are among the dead
// letters.
func (s *Session) awaitAllDurable() error {
	s.burials.Wait()
	return forClient(s.sub.broker.AwaitPositions())
}

// lose gives back the messages that a lost client has not acknowledged. The oldest of them has
// failed, because the client was at work on it, unless it has for the ack deadline. Nobody knows
// which message a client was at work on that does not acknowledge.
func (s *Session) lose() {
	if !s.options.Ack || s.deadline.hasExpired() {
		return
	}
	s.sub.member.Keep()
	if failed, ok := s.sub.member.Lose(s.options.retry(), time.Now()); ok {
		s.bury(failed, "connection lost")
	}
}

// HasExpired reports whether the ack deadline has ended the session.
func (s *Session) HasExpired() bool { return s.deadline.hasExpired() }

// IsSettled reports whether nothing is consumed by Complete.
func (s *Session) IsSettled() bool {
	return s.options.From != nil || s.sub.member.Oldest() == 0 && s.sub.missing.isEmpty()
}

// WriteConfirms gives the Sink the confirmations that it has not got yet, after Stop.
func (s *Session) WriteConfirms() { s.confirms.write(s.sink) }

// Flush has the Sink write everything that it has, the front's last line included.
func (s *Session) Flush() error { return s.sender.flush() }

// ReleaseBuffers gives memory back when nothing more is sent.
func (s *Session) ReleaseBuffers() { s.sender.releaseBuffers() }

// ClientMayBeGone notes that a client that does not acknowledge has closed its sending side. Once
// it has received all messages the session ends if others want its group.
func (s *Session) ClientMayBeGone() { s.away.Store(true) }

// yield ends a session whose client may be gone, if it has nothing to send.
func (s *Session) yield() bool {
	isIdle := func() bool { return s.away.Load() && len(s.receipts.marks) == 0 }
	return s.pump.failIdle(isIdle, errorf(ErrWanted,
		"group %q is wanted by others, and this consumer has closed its sending side: it may be gone", s.options.Group))
}

// guardedPush is push, with a panic as an error.
func (s *Session) guardedPush() (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.sub.broker.Log.Error("panic in a connection", "client", s.options.Client, "topic", s.options.Topic, "group", s.options.Group, "reason", r, "stack", string(debug.Stack()))
			err = forClient(ErrInternal)
		}
	}()
	return s.push()
}

// push sends all messages that may be sent now, and flushes once at the end.
func (s *Session) push() error {
	s.sub.waiter.Busy()
	if s.sub.topic == nil {
		ready, err := s.open()
		if err != nil {
			return err
		}
		if !ready {
			return s.sender.flush()
		}
	}
	if err := s.sub.deleted(); err != nil {
		return err
	}
	if s.options.Follow {
		if err := s.sub.extend(); err != nil {
			return err
		}
	}
	if err := s.receipts.ack(&s.sub.member, s.sink); err != nil {
		return err
	}
	if err := s.sendAll(false); err != nil {
		return err
	}
	s.confirms.write(s.sink)
	if err := s.sender.flush(); err != nil {
		return err
	}
	if s.isDone() {
		return io.EOF
	}
	s.ackReceived()
	s.ReleaseBuffers()
	s.await()
	return nil
}

// open finds the topic, and reports false if there is none: then the session waits for it, or
// ends.
func (s *Session) open() (bool, error) {
	t, err := s.options.Find()
	if errors.Is(err, broker.ErrUnknownTopic) {
		if err := s.sub.expect(); err != nil {
			return false, err
		}
		if !s.options.Follow {
			return false, io.EOF
		}
		s.unawait = s.options.View.Await(s.options.Topic, s.pump.wake)
		return false, nil
	}
	if err != nil {
		return false, forClient(err)
	}
	s.sub.topic, s.unawait = t, nil
	s.unwatch = t.Watch(s.pump.wake)
	if err := s.sub.begin(); err != nil {
		return false, err
	}
	for i := range s.sub.partitions {
		p := &s.sub.partitions[i]
		s.sub.watch(p)
		if s.options.Follow {
			p.end = units.End
		}
	}
	return true, nil
}

// sendAll sends free messages while the window is open: a chunk of each partition in turn, or
// each partition to its end.
func (s *Session) sendAll(toEnd bool) error {
	for more := true; more; {
		more = false
		first := s.sub.firstTurn()
		for i := 0; i < len(s.sub.partitions); {
			p := s.sub.turn(first + i)
			_, high := p.log.Offsets()
			sent, err := s.sender.sendFree(p, min(high, p.end), s.openWindow())
			if sent > 0 || err != nil {
				s.deadline.sent()
			}
			if err != nil {
				return err
			}
			more = more || sent > 0
			if sent == 0 || !toEnd {
				i++
			}
		}
	}
	return nil
}

// openWindow is window; if it is 0 the next acknowledgement wakes the pump.
func (s *Session) openWindow() int64 {
	if n := s.window(); n > 0 {
		return n
	}
	s.blocked.Store(true)
	return s.window()
}

// maxChunk is more messages than one look into the log gives.
const maxChunk = readChunk

// window is how many messages more may be sent.
func (s *Session) window() int64 {
	if !s.options.Ack {
		return maxChunk
	}
	open, bytes := s.sub.member.Open()
	switch {
	case s.options.Window > 0:
		return max(0, s.options.Window-open)
	case bytes >= broker.WindowBytes:
		return 0
	}
	return max(0, broker.Window-open)
}

// isDone reports whether all messages that were asked for have been sent.
func (s *Session) isDone() bool {
	if s.sender.left == 0 {
		return true
	}
	return !s.options.Follow && s.window() > 0 && !s.sub.anyFree()
}

// ackReceived acknowledges, for a client that does not, the messages that its system has
// received, or has the pump look again later.
func (s *Session) ackReceived() {
	switch {
	case s.options.Ack:
		return
	case s.options.From != nil:
		s.sub.member.AckAll()
	default:
		s.receipts.mark(&s.sub.member, s.sink)
	}
	if len(s.receipts.marks) > 0 {
		s.pump.wakeIn(s.receipts.pause)
	}
}

// await waits for more messages if the window is open. If it is not, they are for others.
func (s *Session) await() {
	switch {
	case s.sender.isStopped(): // the front ends the session
	case s.sender.left == 0 || s.window() == 0:
		s.sub.waiter.PassOn()
	case s.options.Follow:
		s.sub.waiter.Rest()
	default: // messages were given back during the flush, and nothing else would wake it
		s.pump.wake()
	}
}
