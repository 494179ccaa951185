package line

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
)

// hear takes what the client says until it leaves, which is errGone, or says
// something wrong, or is interrupted.
func (f *follower) hear() error {
	if !f.request.ack {
		return f.hearNothing()
	}
	for {
		if err := f.hearAnswers(); err != nil {
			return err
		}
		err := f.in.fill(broker.RequestLine)
		if err == io.EOF {
			return errGone
		}
		if err != nil {
			return err
		}
	}
}

// hearAnswers takes the lines that are there. Of acknowledgements in a row the
// last counts.
func (f *follower) hearAnswers() error {
	var acked uint64
	for {
		p := f.in.bytes()
		i := bytes.IndexByte(p, '\n')
		if i < 0 && len(p) < broker.RequestLine {
			return f.ack(acked)
		}
		kind, number, reason, err := parseAnswer(p, i)
		if err == nil && kind == '+' && number <= f.member.Sent() {
			acked = max(acked, number)
		} else if ackErr := f.ack(acked); ackErr != nil {
			return ackErr
		} else if err != nil {
			return err
		} else if err := f.answered(kind, number, reason); err != nil {
			return err
		}
		f.in.skip(i + 1)
	}
}

// answered takes one answer.
func (f *follower) answered(kind byte, number uint64, reason string) error {
	if kind == '+' {
		return f.ack(number)
	}
	return f.failed(number, reason)
}

// parseAnswer reads "+N" or "-N reason" from the beginning of p, up to the LF
// at end. If that is below 0, or too far, the line is too long.
func parseAnswer(p []byte, end int) (kind byte, number uint64, reason string, err error) {
	if end < 0 || end >= broker.RequestLine {
		return 0, 0, "", answer("BADREQUEST", "an answer is longer than %d bytes", broker.RequestLine)
	}
	line := bytes.TrimSuffix(p[:end], []byte("\r"))
	if len(line) > 1 && (line[0] == '+' || line[0] == '-') {
		digits, rest, _ := bytes.Cut(line[1:], []byte(" "))
		number, err = strconv.ParseUint(string(digits), 10, 63)
		if err == nil && (line[0] == '-' || len(rest) == 0) {
			return line[0], number, string(rest), nil
		}
	}
	return 0, 0, "", answer("BADREQUEST", "%q is neither +N nor -N and a reason", line)
}

// ack says that the first n messages are done.
func (f *follower) ack(n uint64) error {
	if n == 0 {
		return nil
	}
	if err := f.member.Ack(n); err != nil {
		return answer("BADREQUEST", "+%d: %w", n, err)
	}
	f.hang.heard(f)
	if f.request.confirm {
		storeMax(&f.acked, n)
		f.awaitDurable(n)
	}
	if f.blocked.Swap(false) || !f.request.follow {
		f.wake()
	}
	return nil
}

// confirmAgain is the time after which it is asked again for what was acknowledged
// and could not be written, which the broker tries again, too.
const confirmAgain = time.Second

// awaitDurable has the client told when what it has acknowledged up to n is durable.
func (f *follower) awaitDurable(n uint64) {
	f.broker.SyncPositions(func(err error) {
		switch {
		case err == nil:
			storeMax(&f.confirmed, n)
			f.wake()
		case n == f.acked.Load() && !f.hasEnded():
			time.AfterFunc(confirmAgain, func() { f.awaitDurable(n) })
		}
	})
}

// failed says that message n has failed.
func (f *follower) failed(n uint64, reason string) error {
	failed, ok, err := f.member.Fail(n, f.request.retry, time.Now())
	if err != nil {
		return answer("BADREQUEST", "-%d: %w", n, err)
	}
	f.hang.heard(f)
	if !ok {
		return nil
	}
	f.bury(failed, reason)
	f.blocked.Store(false)
	f.wake()
	return nil
}

// bury has a dead message kept among the dead letters.
func (f *follower) bury(failed group.Failed, reason string) {
	if failed.Dead {
		f.burials.Add(1)
		f.broker.Bury(f.topic, failed, reason, f.burials.Done)
	}
}

// hearNothing waits for the client to leave. What it says is thrown away. One
// that closes its sending side (nc -N) may still be there.
func (f *follower) hearNothing() error {
	var err error
	for err == nil {
		f.in.skip(len(f.in.bytes()))
		err = f.in.fill(broker.FirstBuffer)
	}
	if err != io.EOF {
		return err
	}
	for {
		if f.hasEnded() || f.server.isStopping() {
			f.interrupt()
			_, err := f.tcp.Read(make([]byte, 1))
			if err == nil || err == io.EOF {
				err = errInterrupted
			}
			return err
		}
		if _, err := f.closedEarly(); err != nil {
			return err
		}
		select {
		case <-f.server.conns.Stopped():
		case <-time.After(leftTime):
		}
	}
}

// leftTime is how often a follower whose client has closed its sending side
// looks whether the connection is still there.
const leftTime = 250 * time.Millisecond

// errInterrupted ends the hearing of a client that has closed its sending side.
var errInterrupted = errors.New("interrupted")

// storeMax raises v to n.
func storeMax(v *atomic.Uint64, n uint64) {
	for {
		if old := v.Load(); n <= old || v.CompareAndSwap(old, n) {
			return
		}
	}
}
