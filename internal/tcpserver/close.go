package tcpserver

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// CloseTimes are how long a peer has for each step of a clean close.
type CloseTimes struct {
	Asked       time.Time     // when the peer's request had come
	Acknowledge time.Duration // in which its system must acknowledge something, again and again
	HalfClose   time.Duration // from Asked on, in which a peer that closes early does so
	Reset       time.Duration // in which a peer that closed early has to reset
	Close       time.Duration // from the end of what was written until it closes
}

// ConfirmClose closes the sending side of c, and returns nil if the peer has read everything,
// as far as the transport shows. This stands in for an acknowledgement by clients that give
// none. What can't be known counts as not read:
//
// A system that closes a connection with bytes unread, because the program has died or has
// seen enough, sends a reset instead of a FIN (RFC 2525, section 2.17). So when the peer's
// system has acknowledged all bytes and the peer then closes with a FIN, the program has read
// them. Over TLS a close_notify must come before the FIN: a program that dies sends none,
// even if its system had nothing unread.
//
// A peer that has closed its sending side before (nc -N) can't send a FIN again. Its system
// has the bytes, and only a reset shows that the program does not read them. Such a peer
// closes soon after its request: a short response waits for that.
//
// After the FINs of both sides no reset comes any more, so a peer that closes only its
// sending side after the end looks like one that has read. Two signs distinguish them, at
// times: its FIN does not acknowledge this side's, or its system would take less than before,
// because bytes lie there unread.
func ConfirmClose(c Conn, t CloseTimes) error {
	if far, ok := c.(*linkConn); ok {
		return far.confirm(closeRead, nil, t)
	}
	return confirmClose(c, t)
}

func confirmClose(c Conn, t CloseTimes) error {
	early, err := seesAll(c, t)
	if err != nil {
		return err
	}
	if early {
		return awaitNoReset(c, t.Reset)
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	c.Observe()
	if crossed(c.view()) {
		return errCrossed
	}
	c.Resume(time.Now().Add(t.Close))
	if err := c.awaitEnd(t.Reset); err != nil {
		return err
	}
	switch v := c.view(); {
	case crossed(v):
		return errCrossed
	case holdsUnread(v, c.window()):
		return errUnread
	}
	return nil
}

// ConfirmLast is ConfirmClose for a stream that shows its end by its last bytes, which it writes. A
// peer that has read them may close before it sees this side's close, so that the FINs of both
// cross: that is well, because its system had the last bytes, and acknowledged them, while the
// peer's side was open. A closed one would have answered them with a reset.
func ConfirmLast(c Conn, last []byte, t CloseTimes) error {
	if far, ok := c.(*linkConn); ok {
		return far.confirm(closeLast, last, t)
	}
	return confirmLast(c, last, t)
}

func confirmLast(c Conn, last []byte, t CloseTimes) error {
	early, err := seesAll(c, t)
	if err != nil {
		return err
	}
	if _, err := c.WriteAll(t.Acknowledge, last); err != nil {
		return err
	}
	if err := awaitAcknowledged(c, t.Acknowledge); err != nil {
		return err
	}
	if early {
		return awaitNoReset(c, t.Reset)
	}
	c.Observe()
	if err := c.CloseWrite(); err != nil {
		return err
	}
	c.Resume(time.Now().Add(t.Close))
	if err := c.awaitEnd(t.Reset); err != nil {
		return err
	}
	if holdsUnread(c.view(), c.window()) {
		return errUnread
	}
	return nil
}

// seesAll waits until the peer's system has all that was written, and says whether the peer has
// closed its sending side before the end.
func seesAll(c Conn, t CloseTimes) (early bool, err error) {
	c.Observe()
	if err := awaitAcknowledged(c, t.Acknowledge); err != nil {
		return false, err
	}
	return closesEarly(c, t.Asked.Add(t.HalfClose))
}

// CloseInOrder closes the sending side and waits for the peer's close, where nothing depends
// on what the peer has read: it waits for no half-close and no reset.
func CloseInOrder(c Conn, t CloseTimes) error {
	if far, ok := c.(*linkConn); ok {
		return far.confirm(closeInOrderly, nil, t)
	}
	return closeInOrder(c, t)
}

func closeInOrder(c Conn, t CloseTimes) error {
	if err := awaitAcknowledged(c, t.Acknowledge); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	c.Resume(time.Now().Add(t.Close))
	return discard(c)
}

// Why a peer that has closed in good order does not count as one that has read everything.
var (
	errCrossed = errors.New("the client closed its sending side before it had the end of the stream")
	errUnread  = errors.New("the client closed its sending side, and its system holds bytes unread")
)

// crossed says whether the peer closed its sending side without knowing of the end.
func crossed(v view) bool { return v.state == lastAck || v.state == closing }

// lessWindow is by how much the window of a peer's system may vary although the program has
// read everything, in bytes.
const lessWindow = 4 << 10

// holdsUnread says whether a peer's system would take less than it would have. Each segment
// says how much, the FIN among them.
func holdsUnread(v view, window uint32) bool {
	return v.scaled && v.window+lessWindow < window
}

// closesEarly says whether the peer has closed its sending side. It waits for that until end:
// most of those that close it without knowing the end do so at once.
func closesEarly(c Conn, end time.Time) (bool, error) {
	c.Resume(end)
	err := discard(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.PeerClosed()
	}
	return err == nil, err
}

// awaitNoReset gives the peer's system time for a reset and then closes.
func awaitNoReset(c Conn, limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		time.Sleep(min(limit, 10*time.Millisecond))
		if _, err := c.PeerClosed(); err != nil {
			return err
		}
	}
	return c.CloseWrite()
}

// awaitAcknowledged waits until the peer's system has acknowledged every byte; it must
// acknowledge something within limit. There is no event for that.
func awaitAcknowledged(c Conn, limit time.Duration) error {
	pause, last := 20*time.Microsecond, -1
	end := time.Now().Add(limit)
	for {
		n, err := c.Unacknowledged()
		if err != nil || n == 0 {
			return err
		}
		if n != last {
			last, end = n, time.Now().Add(limit)
		}
		if time.Now().After(end) {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// discard reads until the peer closes its sending side.
func discard(c Conn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// LingerTime bounds how long a peer may go on sending after the last that is written to it.
// closing with its bytes unread would have the system reset the connection, and the last
// might be lost with it.
const LingerTime = 2 * time.Second

// WriteLast writes the last that a peer gets, within some time, and sees that the peer can
// read it. The close is the caller's.
func WriteLast(c Conn, text string, within time.Duration) {
	c.ResetOnClose(false)
	if _, err := c.Write([]byte(text), within); err == nil {
		Linger(c)
	}
}

// Linger closes the sending side behind the last that a peer gets, and reads what the peer still sends. The
// close is the caller's.
func Linger(c Conn) {
	if c.CloseWrite() != nil {
		return
	}
	c.Resume(time.Now().Add(LingerTime))
	_ = discard(c)
}

func isAgain(err error) bool { return errors.Is(err, syscall.EAGAIN) }
