package tcpserver

import (
	"io"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A tcpConn is a Conn over TCP as it is.
type tcpConn struct {
	socket
	got  int32                 // bytes that ReadInto has read; below 0 an errno, or noSpace
	take func(fd uintptr) bool // read, made once
	into Buffer                // of the ReadInto that goes on
	out  output
}

// An output is the write that goes on. Most writes find space in the system's buffer at once,
// and a deadline costs a timer, so a write sets its deadline when it has to wait.
type output struct {
	mu     sync.Mutex                   // held over a write, guards what follows
	try    func(fd uintptr) bool        // tcpConn.try, made once
	f      func(fd uintptr) (done bool) // of WriteRaw; nil for Write
	rest   []byte                       // of Write
	err    error                        // of Write
	within time.Duration                // from the first wait on
	waits  bool                         // the deadline is set
}

const noSpace = math.MinInt32

func newTCP(nc *net.TCPConn, raw syscall.RawConn) *tcpConn {
	return &tcpConn{socket: socket{tcp: nc, raw: raw, seat: newGuest(addrPort(nc.RemoteAddr()))}}
}

func (c *tcpConn) Read(p []byte) (int, error) { return c.tcp.Read(p) }

func (c *tcpConn) ReadInto(b Buffer) (int, error) {
	if c.take == nil {
		c.take = c.read
	}
	c.into, c.got = b, 0
	err := c.raw.Read(c.take)
	switch {
	case err != nil:
		return 0, err
	case c.got > 0:
		return int(c.got), nil
	case c.got == 0:
		return 0, io.EOF
	case c.got == noSpace:
		return 0, ErrNoSpace
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.Errno(-c.got)}
}

// read reads the bytes that have come. If there are none it reports false, to be called again.
func (c *tcpConn) read(fd uintptr) bool {
	p := c.into.Space()
	if p == nil {
		c.got = noSpace
		return true
	}
	for {
		n, err := syscall.Read(int(fd), p)
		switch errno, _ := err.(syscall.Errno); errno {
		case 0:
			c.got = int32(n)
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			c.into.Idle()
			return false
		default:
			c.got = -int32(errno)
		}
		return true
	}
}

func (c *tcpConn) Write(p []byte, within time.Duration) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w := &c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = p
	err := c.write(within, nil)
	if err == nil {
		err = w.err
	}
	n := len(p) - len(w.rest)
	w.rest, w.err = nil, nil
	return n, c.cutOr(err)
}

// put writes what it can of the rest. It reports false if that is not all, to be called again.
func (c *tcpConn) put(fd uintptr) bool {
	w := &c.out
	for len(w.rest) > 0 {
		n, err := syscall.Write(int(fd), w.rest)
		switch err {
		case nil:
			w.rest = w.rest[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			w.err = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", err)}
			return true
		}
	}
	return true
}

// write calls f, or put if f is nil, until it is done, within some time. The caller holds out.mu.
func (c *tcpConn) write(within time.Duration, f func(fd uintptr) (done bool)) error {
	w := &c.out
	if w.try == nil {
		w.try = c.try
	}
	w.f, w.within, w.waits = f, within, false
	err := c.raw.Write(w.try)
	w.f = nil
	if w.waits {
		c.noWriteTime() // it would end later writes
	}
	return err
}

// try writes what it can, and sets the deadline when the write has to wait.
func (c *tcpConn) try(fd uintptr) bool {
	w := &c.out
	f := w.f
	if f == nil {
		f = c.put
	}
	if f(fd) {
		return true
	}
	if !w.waits {
		w.waits = true
		c.setWriteTime(w.within)
	}
	return false
}

func (c *tcpConn) WriteAll(limit time.Duration, p ...[]byte) (n int64, err error) {
	left := net.Buffers(p)
	err = persist(c, limit, func(within time.Duration) error {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		c.setWriteTime(within)
		defer c.noWriteTime()
		more, err := left.WriteTo(c.tcp)
		n += more
		return err
	})
	return n, err
}

func (c *tcpConn) WriteRaw(limit time.Duration, f func(fd uintptr) bool) error {
	return persist(c, limit, func(within time.Duration) error {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		return c.write(within, f)
	})
}

func (c *tcpConn) AllowsRaw() bool { return true }

func (c *tcpConn) PeerClosed() (bool, error) {
	var p [512]byte
	for {
		n := 0
		err := control(c.raw, func(fd int) (err error) {
			if err = socketError(fd); err == nil {
				n, err = receive(fd, p[:], 0)
			}
			return err
		})
		switch {
		case isAgain(err):
			return false, nil
		case err != nil:
			return false, err
		case n == 0:
			return true, nil
		}
	}
}

func (c *tcpConn) CloseWrite() error { return c.tcp.CloseWrite() }

func (c *tcpConn) Close() error {
	defer c.seat.leave()
	return c.tcp.Close()
}

func (c *tcpConn) CertificateName() string { return "" }

func (c *tcpConn) ServerName() (name string, isTLS bool) { return "", false }

// awaitEnd needs no time for a reset: it would come in place of the FIN.
func (c *tcpConn) awaitEnd(time.Duration) error { return discard(c) }
