package delivery

import (
	"time"

	"mbus/internal/group"
)

// Receipts acknowledge, for a client that does not, the messages that its system has received.
type receipts struct {
	marks []mark // not received yet by the client's system
	pause time.Duration
}

// A mark is a place in the stream: so many messages are in so many bytes.
type mark struct {
	written  int64
	messages uint64
}

// Intervals at which the pump looks how much the client's system has received: there is no event
// for that.
const (
	firstLook = 200 * time.Microsecond
	lastLook  = 50 * time.Millisecond
)

// mark notes how much has been written, to acknowledge it when the client's system has received
// it.
func (r *receipts) mark(m *group.Member, sink Sink) {
	sent := m.Sent()
	switch n := len(r.marks); {
	case n == 0 && m.Oldest() == 0 || n > 0 && r.marks[n-1].messages == sent:
	default:
		r.marks, r.pause = append(r.marks, mark{sink.Written(), sent}), firstLook
	}
}

// ack acknowledges the messages that the client's system has received.
func (r *receipts) ack(m *group.Member, sink Sink) error {
	if len(r.marks) == 0 {
		return nil
	}
	received, err := sink.Received()
	if err != nil {
		return err
	}
	n := 0
	for n < len(r.marks) && r.marks[n].written <= received {
		n++
	}
	if n == 0 {
		r.pause = min(2*r.pause, lastLook)
		return nil
	}
	err = m.Ack(r.marks[n-1].messages)
	r.marks = append(r.marks[:0], r.marks[n:]...)
	r.pause = firstLook
	return err
}
