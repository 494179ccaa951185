package line

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// wasLost says whether the client of a follower was lost: by what ended the hearing, the
// pump, and then the follower. Where it was found to hang its oldest message has failed
// already.
func (f *follower) wasLost(heard, pumped, err error) bool {
	if errors.Is(pumped, errHangs) {
		return false
	}
	interrupted := isTimeout(heard) // by the pump, or by a stop
	return f.isLost(pumped) || f.isLost(err) || f.isLost(heard) && !interrupted
}

// isLost says whether err, which has ended a follower that acknowledges, is that its
// connection broke or that its client has stalled: the client may have died of a message.
// One that has closed its side before in good order is not lost (EPIPE: its system has
// refused what was written to it later), and none is when the broker stops.
func (f *follower) isLost(err error) bool {
	var told *answerError
	if !f.request.ack || f.server.isStopping() || errors.As(err, &told) || errors.Is(err, syscall.EPIPE) {
		return false
	}
	var op *net.OpError
	var number syscall.Errno
	return errors.As(err, &op) || errors.As(err, &number)
}

// hearRest takes what the client said before its connection broke, where the pump was
// the first to learn of that. It waits a moment only: a client that has stalled says
// nothing more.
func (f *follower) hearRest() error {
	f.tcp.SetReadDeadline(time.Now().Add(lookTime))
	f.interruptIfStopping()
	return f.hear()
}

// lose gives back what a lost client has not acknowledged. The oldest of these messages
// has failed, for the client was at work on it.
func (f *follower) lose() {
	f.member.Keep()
	if failed, ok := f.member.Lose(f.request.retry, time.Now()); ok {
		f.bury(failed, "connection lost")
	}
}
