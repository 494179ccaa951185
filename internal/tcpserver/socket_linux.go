package tcpserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A socket is a TCP connection and what the system knows of it.
type socket struct {
	tcp         *net.TCPConn
	raw         syscall.RawConn
	maxWindow   uint32      // the most that Observe saw
	interrupted atomic.Bool // Interrupt was called
	isCut       atomic.Bool // CutWrites was called
	seat        *guest      // among the connections of its server
}

// longAgo as a deadline ends what waits at once.
var longAgo = time.Unix(1, 0)

func (s *socket) LocalAddr() net.Addr  { return s.tcp.LocalAddr() }
func (s *socket) RemoteAddr() net.Addr { return s.tcp.RemoteAddr() }

func (s *socket) LocalAddrPort() netip.AddrPort  { return addrPort(s.LocalAddr()) }
func (s *socket) RemoteAddrPort() netip.AddrPort { return addrPort(s.RemoteAddr()) }

func addrPort(of net.Addr) netip.AddrPort {
	at := of.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func (s *socket) guest() *guest { return s.seat }

func (s *socket) IsPrivate() bool {
	return isLoopback(addressOf(s.LocalAddr())) && isLoopback(addressOf(s.RemoteAddr()))
}

func (s *socket) SetReadDeadline(t time.Time) {
	s.tcp.SetReadDeadline(t)
	if s.interrupted.Load() {
		s.tcp.SetReadDeadline(longAgo)
	}
}

func (s *socket) Interrupt() {
	s.interrupted.Store(true)
	s.tcp.SetReadDeadline(longAgo)
}

func (s *socket) IsInterrupted() bool { return s.interrupted.Load() }

func (s *socket) Resume(deadline time.Time) {
	s.interrupted.Store(false)
	s.SetReadDeadline(deadline)
}

func (s *socket) CutWrites() {
	s.isCut.Store(true)
	s.tcp.SetWriteDeadline(longAgo)
}

// setWriteTime gives the writes to come so long.
func (s *socket) setWriteTime(d time.Duration) {
	s.tcp.SetWriteDeadline(time.Now().Add(d))
	if s.isCut.Load() {
		s.tcp.SetWriteDeadline(longAgo)
	}
}

// noWriteTime gives the writes to come any time.
func (s *socket) noWriteTime() {
	s.tcp.SetWriteDeadline(time.Time{})
	if s.isCut.Load() {
		s.tcp.SetWriteDeadline(longAgo)
	}
}

func (s *socket) cutOr(err error) error {
	if err != nil && s.isCut.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrCut
	}
	return err
}

// checks is how often within its limit persist sees whether the peer has taken something.
const checks = 4

// persist calls op, which writes to c within some time, until it ends otherwise than by that, or the
// peer has taken nothing for limit, and at most a quarter longer. Bytes written are no sign: the
// system lets more be written only when there is much space.
func persist(c Conn, limit time.Duration, op func(within time.Duration) error) error {
	last := int64(-1)
	for idle := 0; ; idle++ {
		err := c.cutOr(op(limit / checks))
		if !errors.Is(err, os.ErrDeadlineExceeded) || idle == checks {
			return err
		}
		if now := c.taken(); now > last {
			last, idle = now, 0
		}
	}
}

// taken is 0 where the system does not say.
func (s *socket) taken() int64 {
	info, err := s.info()
	if err != nil {
		return 0
	}
	return int64(info.Bytes_acked)
}

// info is tcp_info of linux/tcp.h; bytes_acked is there since Linux 4.1.
func (s *socket) info() (info *unix.TCPInfo, err error) {
	err = control(s.raw, func(fd int) error {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	return info, err
}

// Unacknowledged asks with the ioctl SIOCOUTQ of tcp(7).
func (s *socket) Unacknowledged() (n int, err error) {
	err = control(s.raw, func(fd int) error {
		if err := socketError(fd); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n, err
}

func control(raw syscall.RawConn, f func(fd int) error) (err error) {
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("asking the system for a connection: %w", err)
	}
	return nil
}

// socketError is what has become of a connection, nil if it is well. After the peer's FIN
// only this shows a reset: reads then return the end for ever. The system gives it once.
func socketError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

func (s *socket) AwaitReset() error {
	var reset error
	err := s.raw.Read(func(fd uintptr) bool {
		reset = socketError(int(fd))
		return reset != nil
	})
	if err == nil {
		err = reset
	}
	return err
}

func (s *socket) ResetOnClose(on bool) {
	linger := -1
	if on {
		linger = 0
	}
	s.tcp.SetLinger(linger)
}

func (s *socket) Abort() {
	s.ResetOnClose(true)
	s.tcp.Close()
	s.seat.leave()
}

// receive reads without waiting: the error is EAGAIN where nothing has come, and n is 0
// without an error at the end. flags are those of recv(2).
func receive(fd int, p []byte, flags int) (n int, err error) {
	for {
		if n, _, err = syscall.Recvfrom(fd, p, syscall.MSG_DONTWAIT|flags); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
