package tcpserver

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mbus/internal/turns"
)

// A tlsConn is a Conn over TLS. A tls.Conn can't go on after a write that timed out, and keeps
// its caller's buffer while it waits for bytes, so its records go through one that never
// waits: the tlsConn waits for the socket itself.
type tlsConn struct {
	socket
	tls     *tls.Conn
	config  *tls.Config // of the server
	resets  atomic.Bool // the close to come is a reset
	records records
	in      input
}

// An input is the read that goes on. Others wait for its end, as for that of a read over TCP.
type input struct {
	mu   sync.Mutex            // guards what follows
	take func(fd uintptr) bool // tlsConn.read, made once
	into Buffer
	n    int
	err  error
}

func newTLS(of *socket, config *tls.Config) *tlsConn {
	c := &tlsConn{socket: socket{tcp: of.tcp, raw: of.raw, place: of.place}, config: config, records: records{TCPConn: of.tcp, raw: of.raw}}
	c.records.waits.Store(true)
	c.tls = tls.Server(&c.records, config)
	return c
}

func (c *tlsConn) IsPrivate() bool { return true }

func (c *tlsConn) CertificateName() string {
	state := c.tls.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return ""
	}
	return nameIn(state.PeerCertificates[0])
}

func (c *tlsConn) ServerName() (name string, isTLS bool) {
	config := c.config
	if load := config.GetConfigForClient; load != nil {
		if now, err := load(nil); err == nil && now != nil {
			config = now
		}
	}
	name = c.tls.ConnectionState().ServerName
	isFor := func(pair tls.Certificate) bool { return pair.Leaf != nil && pair.Leaf.VerifyHostname(name) == nil }
	if name == "" || !slices.ContainsFunc(config.Certificates, isFor) {
		return "", true
	}
	return name, true
}

// readSome reads what has come of a record. The error is errWait where more must come first.
func (c *tlsConn) readSome(p []byte) (int, error) {
	n, err := c.tls.Read(p)
	if n > 0 {
		return n, nil // an error comes again
	}
	if err == nil || err == io.EOF || isNetwork(err) {
		return 0, err
	}
	return 0, &net.OpError{Op: "read", Net: "tls", Err: err}
}

func isNetwork(err error) bool {
	var op net.Error
	return errors.As(err, &op)
}

// maxRecords bounds how long a read takes: a peer may send records of one byte as fast as they are read.
const maxRecords = 1000

// readRecords reads what has come of as many records as p takes. An append and its acknowledgement cost as much for
// the lines of one record as for those of many.
func (c *tlsConn) readRecords(p []byte) (n int, err error) {
	if n, err = c.readSome(p); err != nil {
		return 0, err
	}
	c.records.goesOn.Store(true)
	for i := 1; i < maxRecords && n < len(p) && err == nil; i++ {
		var more int
		more, err = c.readSome(p[n:])
		n += more
	}
	c.records.goesOn.Store(false)
	return n, nil // an error comes again
}

func (c *tlsConn) ReadInto(b Buffer) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.take == nil {
		c.in.take = c.read
	}
	c.in.into = b
	err := c.raw.Read(c.in.take) // over TLS the deadline, too, is the socket's
	n, failed := c.in.n, c.in.err
	c.in.into, c.in.n, c.in.err = nil, 0, nil
	if err == nil {
		err = failed
	}
	return n, err
}

// read reads what has come. If that is nothing it reports false, to be called again.
func (c *tlsConn) read(uintptr) bool {
	p := c.in.into.Space()
	if p == nil {
		c.in.err = ErrNoSpace
		return true
	}
	if c.in.n, c.in.err = c.readRecords(p); c.in.err != errWait {
		return true
	}
	c.in.into.Idle()
	c.in.err = nil
	return false
}

func (c *tlsConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.ReadInto(given(p))
}

// A given Buffer is a caller's.
type given []byte

func (p given) Space() []byte { return p }
func (given) Idle()           {}

func (c *tlsConn) Write(p []byte, within time.Duration) (int, error) {
	c.setWriteTime(within)
	n, err := c.write(p)
	return n, c.cutOr(err)
}

// write writes until the write deadline. Then n counts what is kept, too.
func (c *tlsConn) write(p []byte) (n int, err error) {
	for {
		if err := c.flush(); err != nil {
			c.records.shrink()
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		more, err := c.writeSome(p[n:])
		if n += more; err != nil {
			return n, err
		}
	}
}

// writeSome makes records of some of p. The socket gets several with one call of the system, the flush that follows:
// each call for a single record would wake the peer for it.
func (c *tlsConn) writeSome(p []byte) (int, error) {
	if len(p) <= recordSize || !c.records.gather() {
		return c.tls.Write(p[:min(len(p), recordSize)])
	}
	defer c.records.endGather()
	return c.tls.Write(p[:min(len(p), gathered)])
}

// flush waits until the socket has taken every record, or for the write deadline.
func (c *tlsConn) flush() (err error) {
	e := c.raw.Write(func(fd uintptr) bool {
		var done bool
		done, err = c.records.flush(int(fd))
		return done
	})
	if e != nil {
		return e
	}
	return err
}

func (c *tlsConn) WriteAll(limit time.Duration, p ...[]byte) (n int64, err error) {
	for _, p := range p {
		err := c.persist(limit, func(within time.Duration) error {
			more, err := c.Write(p, within)
			n, p = n+int64(more), p[more:]
			return err
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *tlsConn) WriteRaw(time.Duration, func(uintptr) bool) error { return errors.ErrUnsupported }

func (c *tlsConn) AllowsRaw() bool { return false }

func (c *tlsConn) Unacknowledged() (int, error) {
	n, err := c.socket.Unacknowledged()
	return n + c.records.len(), err
}

func (c *tlsConn) PeerClosed() (bool, error) {
	if err := control(c.raw, socketError); err != nil {
		return false, err
	}
	var p [512]byte
	for {
		switch _, err := c.readSome(p[:]); {
		case err == errWait:
			return false, nil
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		}
	}
}

// closeTime bounds how long a close_notify waits for the socket: as in crypto/tls.
const closeTime = 5 * time.Second

func (c *tlsConn) CloseWrite() error {
	if err := c.tls.CloseWrite(); err != nil {
		return err
	}
	c.setWriteTime(closeTime)
	if err := c.flush(); err != nil {
		return err
	}
	return c.tcp.CloseWrite()
}

func (c *tlsConn) ResetOnClose(on bool) {
	c.resets.Store(on)
	c.socket.ResetOnClose(on)
}

func (c *tlsConn) Close() error {
	if !c.resets.Load() {
		_ = c.tls.CloseWrite() // which does not wait
	}
	return c.tcp.Close()
}

// awaitEnd waits for the close_notify, and then for the FIN, which shows that nothing lies
// unread, or the reset. A peer that keeps the socket open has closed its sending side only.
func (c *tlsConn) awaitEnd(resetTime time.Duration) error {
	if err := discard(c); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(resetTime))
	_, err := io.Copy(io.Discard, onlyReader{c.tcp})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// onlyReader hides other methods, so that io.Copy reads into a small buffer.
type onlyReader struct{ io.Reader }

// Records is what a tls.Conn reads and writes as its network connection. During the handshake
// it waits, as others do, and gives up its turn meanwhile. Then it never does: a read ends with
// errWait, and a write keeps what the socket does not take at once.
type records struct {
	*net.TCPConn
	raw   syscall.RawConn
	waits atomic.Bool
	turn  *turns.Turn // of the handshake
	got   int         // bytes of the handshake

	goesOn atomic.Bool // a read has got something, and does not ask the socket again if that had less than it was asked for
	short  bool        // it had; the peer's close may lie behind that, so a read that has got nothing asks again

	mu      sync.Mutex // guards what follows
	kept    []byte     // what the socket is to take next
	pooled  *[]byte    // that kept began with, from gatherings
	gathers bool       // a write takes no record to the socket: a flush follows
}

// errWait says that more bytes must come first. To a tls.Conn it is a passing failure.
var errWait net.Error = waitError{}

type waitError struct{}

func (waitError) Error() string   { return "no bytes have come" }
func (waitError) Timeout() bool   { return false }
func (waitError) Temporary() bool { return true }

// errAborted ends a TLS connection that has ended without a close_notify.
var errAborted = &net.OpError{Op: "read", Net: "tls", Err: io.ErrUnexpectedEOF}

func (r *records) Read(p []byte) (n int, err error) {
	if r.waits.Load() {
		return r.readHandshake(p)
	}
	if r.goesOn.Load() && r.short {
		return 0, errWait
	}
	n, err = r.readNow(p)
	r.short = n < len(p)
	switch {
	case isAgain(err):
		return 0, errWait
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tls", Err: err}
	case n == 0:
		return 0, errAborted
	}
	return n, nil
}

// readNow reads without waiting. The error is EAGAIN where nothing has come.
func (r *records) readNow(p []byte) (n int, err error) {
	err = control(r.raw, func(fd int) (err error) {
		n, err = receive(fd, p, 0)
		return err
	})
	return n, err
}

// writeNow writes what the socket takes at once, and gives the rest.
func (r *records) writeNow(p []byte) (rest []byte, err error) {
	err = control(r.raw, func(fd int) (err error) {
		rest, err = send(fd, p)
		return err
	})
	return rest, err
}

func (r *records) Write(p []byte) (int, error) {
	if r.waits.Load() {
		return r.writeHandshake(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := p
	if len(r.kept) == 0 && !r.gathers {
		var err error
		if rest, err = r.writeNow(p); err != nil {
			return 0, &net.OpError{Op: "write", Net: "tls", Err: err}
		}
	}
	if len(r.kept)+len(rest) > maxKept {
		return 0, &net.OpError{Op: "write", Net: "tls", Err: syscall.ENOBUFS}
	}
	r.kept = append(r.kept, rest...)
	return len(p), nil
}

// flush sends what is kept. It reports false if the socket does not take all of it now.
func (r *records) flush(fd int) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest, err := send(fd, r.kept)
	switch {
	case err != nil:
		return true, &net.OpError{Op: "write", Net: "tls", Err: err}
	case len(rest) == 0:
		r.drop()
		return true, nil
	}
	r.kept = r.kept[:copy(r.kept, rest)]
	return false, nil
}

func (r *records) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kept)
}

// SetWriteDeadline does nothing: a tls.Conn would end writes after its close_notify, for which
// there is time yet.
func (r *records) SetWriteDeadline(time.Time) error { return nil }

// send writes what the socket takes at once, and gives the rest.
func send(fd int, p []byte) (rest []byte, err error) {
	for len(p) > 0 {
		n, err := syscall.Write(fd, p)
		switch {
		case err == syscall.EINTR:
		case isAgain(err):
			return p, nil
		case err != nil:
			return p, err
		default:
			p = p[n:]
		}
	}
	return nil, nil
}
