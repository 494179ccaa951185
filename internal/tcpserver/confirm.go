package tcpserver

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"
)

// An ending is a way to close that waits for the client. Its node finds out how the client ends, whichever serves it.
type ending uint8

const (
	closeRead      ending = iota + 1 // ConfirmClose
	closeLast                        // ConfirmLast
	closeInOrderly                   // CloseInOrder
)

// closeAs closes a connection of this node.
func closeAs(c Conn, how ending, last []byte, t CloseTimes) error {
	switch how {
	case closeRead:
		return confirmClose(c, t)
	case closeLast:
		return confirmLast(c, last, t)
	}
	return closeInOrder(c, t)
}

// appendConfirm appends the body of a frame:
//
//	 0  1 ending
//	 1  8 nanoseconds until a half-close does not count as early any more; CloseTimes.Asked is by another clock
//	 9  8 CloseTimes.Acknowledge, in nanoseconds
//	17  8 Reset
//	25  8 Close
//	33    the last bytes
func appendConfirm(p []byte, how ending, last []byte, t CloseTimes) []byte {
	p = append(p, byte(how))
	for _, d := range []time.Duration{time.Until(t.Asked.Add(t.HalfClose)), t.Acknowledge, t.Reset, t.Close} {
		p = binary.BigEndian.AppendUint64(p, uint64(d))
	}
	return append(p, last...)
}

// parseConfirm parses it. The last bytes are a part of p.
func parseConfirm(p []byte) (how ending, last []byte, t CloseTimes, err error) {
	if len(p) < confirmSize || ending(p[0]) < closeRead || ending(p[0]) > closeInOrderly {
		return 0, nil, t, errFrame
	}
	at := func(i int) time.Duration { return time.Duration(binary.BigEndian.Uint64(p[1+8*i:])) }
	t = CloseTimes{Asked: time.Now(), HalfClose: at(0), Acknowledge: at(1), Reset: at(2), Close: at(3)}
	return ending(p[0]), p[confirmSize:], t, nil
}

// Verdicts, as frames have them. Those that are no error of the connection have a number.
const (
	verdictRead byte = iota
	verdictOther
	verdictTimeout
	verdictCrossed
	verdictUnread
)

var verdicts = map[byte]error{
	verdictRead: nil, verdictTimeout: os.ErrDeadlineExceeded, verdictCrossed: errCrossed, verdictUnread: errUnread,
}

// appendVerdict appends the body of a frame.
func appendVerdict(p []byte, err error) []byte {
	for code, known := range verdicts {
		if err == nil && known == nil || known != nil && errors.Is(err, known) {
			return append(p, code)
		}
	}
	text := err.Error()
	return append(append(p, verdictOther), text[:min(len(text), maxText)]...)
}

// parseVerdict parses it.
func parseVerdict(p []byte) error {
	if len(p) == 0 {
		return linkError("close", errFrame)
	}
	if err, known := verdicts[p[0]]; known {
		return err
	}
	return linkError("close", &lost{"the client: " + string(p[1:])})
}

// A lost says why the connection to a client was lost.
type lost struct{ text string }

func (l *lost) Error() string { return l.text }
func (l *lost) Unwrap() error { return syscall.ECONNRESET }
