package line

import (
	"bytes"
	"errors"
	"io"

	"mbus/internal/broker"
	"mbus/internal/delivery"
)

// errLeft ends the reading of acknowledgements of a client that has left.
var errLeft = errors.New("the client has left")

// readAcks reads acknowledgements until the client leaves, which is errLeft, or one is wrong,
// or the reading is interrupted.
func (k *consumer) readAcks() error {
	if !k.request.deliver.Ack {
		return k.awaitLeave()
	}
	for {
		if err := k.takeAcks(); err != nil {
			return err
		}
		err := k.conn.in.Fill(k.conn.net, broker.RequestLine)
		if err == io.EOF {
			return errLeft
		}
		if err != nil {
			return err
		}
	}
}

// takeAcks processes the lines that have come; of counts in a row the highest.
func (k *consumer) takeAcks() error {
	in, session := &k.conn.in, k.session
	defer session.ConfirmRanges()
	highest, sent := noCount, session.Sent()
	for {
		p := in.Bytes()
		i := bytes.IndexByte(p, '\n')
		if i < 0 && len(p) < broker.RequestLine {
			return k.ackUpTo(highest)
		}
		if n, ok := parseCount(p, i); ok && n <= sent {
			highest = max(highest, int64(n))
			in.Skip(i + 1)
			continue
		}
		if err := k.ackUpTo(highest); err != nil {
			return err
		}
		highest = noCount
		a, err := parseAck(p, i)
		if err == nil {
			err = k.take(a)
		}
		if err != nil {
			return err
		}
		in.Skip(i + 1)
	}
}

// noCount stands for no "+N" among the lines that have come.
const noCount = int64(-1)

// ackUpTo acknowledges a count, if there was one.
func (k *consumer) ackUpTo(count int64) error {
	if count == noCount {
		return nil
	}
	return k.take(ack{kind: '+', Range: delivery.Range{First: uint64(count), Last: uint64(count)}})
}

// take processes one acknowledgement.
func (k *consumer) take(a ack) (err error) {
	switch a.kind {
	case '+':
		err = k.session.Ack(a.Last)
	case '=':
		err = k.session.AckRange(a.Range)
	default:
		err = k.session.Nack(a.Last, a.failure)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, delivery.ErrNoDeadLetters):
		return errorLinef("BADREQUEST", "-%d dead: %w", a.Last, err)
	}
	return errorLinef("BADREQUEST", "%c%s: %w", a.kind, appendRange(nil, a.Range), err)
}

// awaitLeave waits for the client to leave, and throws away all bytes that it sends. A client
// that closes its sending side (nc -N) may still be there.
func (k *consumer) awaitLeave() error {
	in := &k.conn.in
	var err error
	for err == nil {
		in.Skip(len(in.Bytes()))
		err = in.Fill(k.conn.net, broker.FirstBuffer)
	}
	if err != io.EOF {
		return err
	}
	in.Free()
	k.session.ClientMayBeGone()
	return k.conn.net.AwaitReset() // there is no event for a client that has only left
}
