package tcpserver

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// A linkConn is the Conn of a client that has connected to another node, which carries it. What can be known of the
// client's system only there is found out there.
type linkConn struct {
	hello Hello
	wire  *wire
	in    inflow
	out   outflow
	seat  *guest
	reset atomic.Bool // the close to come is a reset
}

func newLinkConn(w *wire, h Hello) *linkConn {
	c := &linkConn{
		hello: h, wire: w, in: inflow{wake: make(chan struct{}, 1), meter: newMeter(firstGrant)},
		out:  outflow{wake: make(chan struct{}, 1), granted: fullGrant},
		seat: newGuest(h.Remote),
	}
	var o outside = admission{c}
	c.seat.outside.Store(&o)
	return c
}

// errBadFlow breaks a link whose other side has sent more than it may.
var errBadFlow = errors.New("the other node has sent what it may not")

func (c *linkConn) handle(k kind, p []byte) error {
	switch k {
	case frameData:
		return c.in.add(p)
	case frameGrant:
		return c.out.grant(p)
	case frameState:
		return c.out.state(p)
	case frameEnd:
		c.in.change(func(f *inflow) { f.ended = true })
	case frameFailed:
		err := parseErrno(p)
		c.out.fail(linkError("write", err))
		c.in.change(func(f *inflow) { f.failed = linkError("read", err) })
	case frameReset:
		c.breakOff(parseErrno(p))
	case frameConfirmed:
		v := &verdict{parseVerdict(p)}
		c.in.change(func(f *inflow) { f.verdict = v })
	default:
		return errFrame
	}
	return nil
}

// breakOff ends everything but what has come.
func (c *linkConn) breakOff(err error) {
	c.out.fail(linkError("write", err))
	err = linkError("read", err)
	c.in.change(func(f *inflow) {
		if f.err == nil {
			f.err = err
		}
		if f.failed == nil {
			f.failed = err
		}
	})
}

// change changes the inflow, and has the one that waits look again.
func (f *inflow) change(by func(f *inflow)) {
	f.mu.Lock()
	by(f)
	f.mu.Unlock()
	poke(f.wake)
}

func (c *linkConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.hello.Local) }
func (c *linkConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.hello.Remote) }

func (c *linkConn) LocalAddrPort() netip.AddrPort  { return c.hello.Local }
func (c *linkConn) RemoteAddrPort() netip.AddrPort { return c.hello.Remote }

func (c *linkConn) IsPrivate() bool            { return c.hello.Private }
func (c *linkConn) CertificateName() string    { return c.hello.Certificate }
func (c *linkConn) ServerName() (string, bool) { return c.hello.ServerName, c.hello.TLS }

func (c *linkConn) Read(p []byte) (int, error) {
	for {
		if ready, err := c.in.ready(); ready || err != nil {
			return c.read(p, err)
		}
		c.in.await()
	}
}

func (c *linkConn) ReadInto(b Buffer) (int, error) {
	for waits := false; ; waits = true {
		ready, err := c.in.ready()
		if err != nil {
			return 0, err
		}
		if ready {
			p := b.Space()
			if p == nil {
				return 0, ErrNoSpace
			}
			return c.read(p, nil)
		}
		if !waits {
			b.Idle()
		}
		c.in.await()
	}
}

// read gives bytes that are there, or an error.
func (c *linkConn) read(p []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, grant, tell := c.in.read(p)
	c.tell(grant, tell)
	return n, nil
}

// tell tells the carrier how many bytes it may send. An error ends the link, which the next call notices.
func (c *linkConn) tell(grant uint64, tell bool) {
	if tell {
		_ = c.wire.send(frameGrant, binary.BigEndian.AppendUint64(nil, grant)...)
	}
}

func (c *linkConn) SetReadDeadline(t time.Time) { c.in.change(func(f *inflow) { f.deadline = t }) }

func (c *linkConn) Interrupt() { c.in.change(func(f *inflow) { f.interrupted = true }) }

func (c *linkConn) IsInterrupted() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.interrupted
}

func (c *linkConn) Resume(deadline time.Time) {
	c.in.change(func(f *inflow) { f.interrupted, f.deadline = false, deadline })
}

func (c *linkConn) Write(p []byte, within time.Duration) (n int, err error) {
	c.out.turn.Lock()
	defer c.out.turn.Unlock()
	var end time.Time // set when it has to wait
	for n < len(p) {
		some, err := c.out.take(min(len(p)-n, maxData))
		if err != nil {
			return n, err
		}
		if some > 0 {
			if err := c.wire.send(frameData, p[n:n+some]...); err != nil {
				return n, linkError("write", err)
			}
			n += some
			continue
		}
		switch now := time.Now(); {
		case end.IsZero():
			end = now.Add(within)
		case !now.Before(end):
			return n, errLate("write")
		}
		awaitUntil(c.out.wake, end)
	}
	return n, nil
}

func (c *linkConn) WriteAll(limit time.Duration, p ...[]byte) (n int64, err error) {
	for _, p := range p {
		err := persist(c, limit, func(within time.Duration) error {
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

func (c *linkConn) WriteRaw(time.Duration, func(uintptr) bool) error { return errors.ErrUnsupported }

func (c *linkConn) AllowsRaw() bool { return false }

func (c *linkConn) CutWrites() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.cut = true
	poke(c.out.wake)
}

func (c *linkConn) cutOr(err error) error { return err }

// taken is as the carrier said last. It is asked for a newer count.
func (c *linkConn) taken() int64 {
	_, progress, ask, _ := c.out.ask(true)
	if ask {
		_ = c.wire.send(frameAsk)
	}
	return progress
}

// Unacknowledged is as the carrier said last. It is asked for a newer count if that may be lower.
func (c *linkConn) Unacknowledged() (int, error) {
	missing, _, ask, err := c.out.ask(false)
	if ask {
		err = c.wire.send(frameAsk)
	}
	return missing, err
}

func (c *linkConn) PeerClosed() (bool, error) {
	c.tell(c.in.discard())
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.ended && len(c.in.bytes.bytes()) == 0, c.in.failed
}

// HasLeft is true once the end has come over the link, to which the carrier gets when the owner has read enough.
func (c *linkConn) HasLeft() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.ended || c.in.failed != nil
}

func (c *linkConn) AwaitReset() error {
	for {
		c.in.mu.Lock()
		err := c.in.failed
		if err == nil && c.in.isOver() {
			err = errLate("read")
		}
		c.in.mu.Unlock()
		if err != nil {
			return err
		}
		c.in.await()
	}
}

func (c *linkConn) Observe() { _ = c.wire.send(frameObserve) }

func (c *linkConn) CloseWrite() error {
	c.out.turn.Lock()
	defer c.out.turn.Unlock()
	first, err := c.out.end()
	if first {
		err = c.wire.send(frameEnd)
	}
	return err
}

func (c *linkConn) ResetOnClose(on bool) { c.reset.Store(on) }

// Abort breaks the link, which is a reset to the client.
func (c *linkConn) Abort() {
	c.wire.conn.Abort()
	c.close()
}

// Close tells the carrier to close. The carrier then ends the link.
func (c *linkConn) Close() error {
	if c.reset.Load() {
		c.Abort()
		return nil
	}
	err := c.wire.send(frameClose)
	c.close()
	return err
}

func (c *linkConn) close() {
	c.out.fail(linkError("write", net.ErrClosed))
	c.in.change(func(f *inflow) {
		f.closed = true
		f.bytes.drop()
	})
}

func (c *linkConn) guest() *guest { return c.seat }

// An admission tells the carrier that its client has logged in.
type admission struct{ conn *linkConn }

func (a admission) admit() {
	f := &a.conn.in
	f.mu.Lock()
	grant, tell := f.meter.widen()
	f.mu.Unlock()
	_ = a.conn.wire.send(frameAdmitted)
	a.conn.tell(grant, tell)
}

func (a admission) leave() {}

// confirm has the carrier find out how the client ends, as closeAs says.
func (c *linkConn) confirm(how ending, last []byte, t CloseTimes) error {
	for len(last) > maxData {
		n, err := c.WriteAll(t.Acknowledge, last[:len(last)-maxData])
		if err != nil {
			return err
		}
		last = last[n:]
	}
	c.in.change(func(f *inflow) { f.verdict, f.interrupted = nil, false })
	if _, err := c.out.take(0); err != nil {
		return err
	}
	if err := c.wire.send(frameConfirm, appendConfirm(nil, how, last, t)...); err != nil {
		return linkError("close", err)
	}
	for {
		if done, err := c.in.judged(); done {
			return err
		}
		awaitUntil(c.in.wake, time.Time{})
	}
}

// judged says whether the verdict has come, or never will.
func (f *inflow) judged() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return true, linkError("close", net.ErrClosed)
	case f.verdict != nil:
		return true, f.verdict.err
	case f.err != nil:
		return true, f.err
	case f.interrupted:
		return true, errLate("read")
	}
	return false, nil
}

// These have no meaning at this end: closings are found out at the other.

func (c *linkConn) awaitEnd(time.Duration) error { return errors.ErrUnsupported }
func (c *linkConn) view() view                   { return view{} }
func (c *linkConn) window() uint32               { return 0 }
