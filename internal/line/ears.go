package line

import (
	"bytes"
	"io"
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

// hearAnswers takes the lines that are there. Of counts in a row the highest is
// taken.
func (f *follower) hearAnswers() error {
	defer f.confirmSome()
	highest, sent := noCount, f.member.Sent()
	for {
		p := f.in.bytes()
		i := bytes.IndexByte(p, '\n')
		if i < 0 && len(p) < broker.RequestLine {
			return f.ackUpTo(highest)
		}
		if n, ok := parseCount(p, i); ok && n <= sent {
			highest = max(highest, int64(n))
			f.in.skip(i + 1)
			continue
		}
		if err := f.ackUpTo(highest); err != nil {
			return err
		}
		highest = noCount
		v, err := parseVerdict(p, i)
		if err == nil {
			err = f.take(v)
		}
		if err != nil {
			return err
		}
		f.in.skip(i + 1)
	}
}

// noCount stands for no "+N" among the lines that are there.
const noCount = int64(-1)

// ackUpTo is ack for a count, if there was one.
func (f *follower) ackUpTo(count int64) error {
	if count == noCount {
		return nil
	}
	return f.ack(uint64(count))
}

// take takes one answer.
func (f *follower) take(v verdict) error {
	switch v.kind {
	case '+':
		return f.ack(v.to)
	case '=':
		return f.ackSome(v)
	}
	return f.failed(v.from, v.failure)
}

// ack says that the first n messages are done; with 0, or a number that was said
// before, only that the client is still at work.
func (f *follower) ack(n uint64) error {
	if err := f.member.Ack(n); err != nil {
		return answer("BADREQUEST", "+%d: %w", n, err)
	}
	f.hang.heard(f)
	if n == 0 {
		return nil
	}
	if f.request.confirm {
		f.confirms.expect(n)
		f.awaitDurable(n, nil)
	}
	f.settledSome()
	return nil
}

// ackSome says that the messages that v names are done.
func (f *follower) ackSome(v verdict) error {
	n, err := f.member.AckSome(v.from, v.to)
	if err != nil {
		return answer("BADREQUEST", "=%s: %w", v.notes(nil), err)
	}
	f.hang.heard(f)
	if n == 0 {
		return nil
	}
	if f.request.confirm {
		f.some = append(f.some, v)
	}
	f.settledSome()
	return nil
}

// settledSome has the pump go on where it waits for the client's answers.
func (f *follower) settledSome() {
	if f.blocked.Swap(false) || !f.request.follow {
		f.wake()
	}
}

// failed says that message n has failed.
func (f *follower) failed(n uint64, why failure) error {
	retry := f.request.retry
	switch {
	case why.dead && !broker.HasDeadLetters(f.request.topic):
		return answer("BADREQUEST", "-%d dead: topic %q has no dead letters of its own: acknowledge the message, or let it come again", n, f.request.topic)
	case why.dead:
		retry.Attempts = 1
	case why.hasRetry:
		retry.Backoff, retry.Bound = why.retry, why.retry
	}
	failed, ok, err := f.member.Fail(n, retry, time.Now())
	if err != nil {
		return answer("BADREQUEST", "-%d: %w", n, err)
	}
	f.hang.heard(f)
	if !ok {
		return nil
	}
	f.bury(failed, why.reason)
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
	f.in.free()
	f.away.Store(true)
	return f.net.AwaitReset() // there is no event for a client that has only left
}

// yield ends a follower that does not acknowledge, whose client has closed its sending
// side, and that has nothing to send: nobody knows whether the client is still there, and
// others want the group.
func (f *follower) yield() bool {
	idle := func() bool { return f.away.Load() && len(f.marks) == 0 }
	return f.endIdle(idle, answer("BUSY", "group %q is wanted by others, and this consumer has closed its sending side: it may be gone", f.request.group))
}
