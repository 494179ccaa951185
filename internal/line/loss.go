package line

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// countLoss counts a failure where the client of a follower that acknowledges is lost: its
// connection broke, or it has stalled. The client may have died of the oldest message that
// it has not acknowledged. It was not lost if it has left in good order before, or where
// the broker stops; and where it was found to hang that message has failed already.
// heard is what ended the hearing, pumped the pump, and err the follower.
func (f *follower) countLoss(heard, pumped, err error) {
	if f.server.isStopping() || f.hang.found() {
		return
	}
	lost := isLoss(pumped) || isLoss(err) || isLoss(heard) && !isTimeout(heard) // which is an interruption
	if isBroken(err) {
		rest := f.hearRest()
		lost = lost || isLoss(rest) && !isTimeout(rest)
	}
	if lost {
		f.lose()
	}
}

// isBroken says whether err is one of the connection, and not what the client is told.
func isBroken(err error) bool {
	var told *answerError
	var op *net.OpError
	var number syscall.Errno
	return !errors.As(err, &told) && (errors.As(err, &op) || errors.As(err, &number))
}

// isLoss says whether err tells that the client is lost. That nothing can be written any
// more does not: the client may have closed the connection in good order before.
func isLoss(err error) bool {
	return isBroken(err) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ENOTCONN)
}

// hearRest takes what the client said before its connection broke, where a write was the
// first to learn of that. It waits a moment only: a client that has stalled says nothing
// more.
func (f *follower) hearRest() error {
	f.net.Resume(time.Now().Add(lookTime))
	if f.server.isStopping() {
		f.net.Interrupt()
	}
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
