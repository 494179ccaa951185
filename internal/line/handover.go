package line

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"mbus/internal/tcpserver"
)

// handOver closes the connection in good order and returns nil if the client has
// read everything, as far as TCP can tell. This stands in for an acknowledgement
// by clients that give none. What can't be told counts as not read:
//
// A system that closes a connection with bytes unread, because the program has
// died or has seen enough, sends a reset instead of a FIN (RFC 2525, section
// 2.17). So when the client's system has acknowledged all bytes and the client
// then closes with a FIN, the program has read them.
//
// A client that has closed its sending side before (nc -N) can't send a FIN
// again. Its system has the bytes, and whether the program reads them shows only
// if it does not: by a reset, for which some time is given. Such a client closes
// soon after its request, for which a short answer waits.
//
// After the FINs of both sides no reset comes any more, so a client that closes only its
// sending side behind the end looks like one that has read. Two signs tell them
// apart, at times: its FIN does not acknowledge the broker's, or its
// system has less room than before, because bytes lie there unread.
func (c *conn) handOver() error {
	c.look()
	if err := c.allReceived(); err != nil {
		return err
	}
	early, err := c.closesEarly()
	if err != nil {
		return err
	}
	if early {
		return c.waitForReset()
	}
	if err := c.tcp.CloseWrite(); err != nil {
		return err
	}
	if crossed(c.look()) {
		return errCrossed
	}
	c.tcp.SetReadDeadline(time.Now().Add(c.broker.Limits.CloseTime))
	_, err = io.Copy(io.Discard, onlyReader{c.tcp})
	if err != nil {
		return err
	}
	switch view := c.look(); {
	case crossed(view):
		return errCrossed
	case holdsUnread(view, c.room):
		return errUnread
	}
	return nil
}

// partInPeace closes the connection in good order where nothing depends on what the client
// has read: it waits for no half-close and no reset.
func (c *conn) partInPeace() error {
	if err := c.allReceived(); err != nil {
		return err
	}
	if err := c.tcp.CloseWrite(); err != nil {
		return err
	}
	c.tcp.SetReadDeadline(time.Now().Add(c.broker.Limits.CloseTime))
	_, err := io.Copy(io.Discard, onlyReader{c.tcp})
	return err
}

// Why a client that has closed with a FIN does not count as one that has read everything.
var (
	errCrossed = errors.New("the client closed its sending side before it had the end of the stream")
	errUnread  = errors.New("the client closed its sending side, and its system holds bytes unread")
)

// look is what the system sees of the connection; the zero View where it says nothing.
func (c *conn) look() tcpserver.View {
	v, err := tcpserver.Look(c.tcp)
	if err != nil {
		return tcpserver.View{}
	}
	c.room = max(c.room, v.Window)
	return v
}

// crossed says whether the client closed its sending side without knowing of the end.
func crossed(v tcpserver.View) bool {
	return v.State == tcpserver.LastAck || v.State == tcpserver.Closing
}

// lessRoom is by how much the room of a client's system may vary although the program has
// read everything, in bytes.
const lessRoom = 4 << 10

// holdsUnread says whether a client's system has less room than it has had. Systems tell
// it with every segment, the FIN among them.
func holdsUnread(v tcpserver.View, room uint32) bool {
	return v.Scaled && v.Window+lessRoom < room
}

// closesEarly says whether the client has closed its sending side. It waits for that until
// HalfCloseTime behind the request: most of those that close it without knowing the end
// do so at once.
func (c *conn) closesEarly() (bool, error) {
	end := c.asked.Add(c.broker.Limits.HalfCloseTime)
	c.tcp.SetReadDeadline(end)
	var p [512]byte
	for time.Now().Before(end) {
		switch _, err := c.tcp.Read(p[:]); {
		case err == io.EOF:
			return true, nil
		case isTimeout(err):
			return c.closedEarly()
		case err != nil:
			return false, err
		}
	}
	return c.closedEarly()
}

// waitForReset gives the client's system time for a reset and then closes.
func (c *conn) waitForReset() error {
	for end := time.Now().Add(c.broker.Limits.ResetTime); time.Now().Before(end); {
		time.Sleep(min(c.broker.Limits.ResetTime, 10*time.Millisecond))
		if _, err := c.closedEarly(); err != nil {
			return err
		}
	}
	return c.tcp.CloseWrite()
}

// allReceived waits until the client's system has acknowledged every byte. There
// is no event for that.
func (c *conn) allReceived() error {
	pause, last := 20*time.Microsecond, -1
	end := time.Now().Add(c.broker.Limits.WriteTime)
	for {
		queued, err := c.queued()
		if err != nil || queued == 0 {
			return err
		}
		if queued != last {
			last, end = queued, time.Now().Add(c.broker.Limits.WriteTime)
		}
		if time.Now().After(end) {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// queued is the number of bytes that the client's system has not acknowledged.
func (c *conn) queued() (int, error) { return tcpserver.Unacknowledged(c.tcp) }

// closedEarly says, without waiting, whether the client has closed its sending
// side. What it sent beyond its request is thrown away.
func (c *conn) closedEarly() (bool, error) {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return false, err
	}
	var p [512]byte
	for {
		n, err := 0, error(nil)
		if e := raw.Control(func(fd uintptr) {
			if err = tcpserver.SocketError(int(fd)); err == nil {
				n, _, err = syscall.Recvfrom(int(fd), p[:], syscall.MSG_DONTWAIT)
			}
		}); e != nil {
			return false, e
		}
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false, nil
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false, err
		case n == 0:
			return true, nil
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
