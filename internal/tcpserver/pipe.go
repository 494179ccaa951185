package tcpserver

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Pipe stands for a client's connection where this program is between the client and its server: servers and Dispatchers
// have it as any Conn of that client, and its other end is a PipeEnd. So a client's connection outlives its server.
type Pipe struct {
	Conn // the client's, for its addresses, and what TLS has proven

	end   PipeEnd
	seat  *guest
	reset atomic.Bool // the close to come is a reset
	over  chan struct{}
	wake  chan struct{} // an element has the read that waits look again

	mu          sync.Mutex // guards what follows
	deadline    time.Time
	interrupted bool
	cut         bool  // nothing is written any more
	ended       bool  // nothing more is written
	closed      bool  // by its server
	inOrder     bool  // so it was closed
	failed      error // of the client; see Fail
}

// A PipeEnd is the other end of a Pipe.
type PipeEnd interface {
	// Ready says whether there is something for Read, which is called by one goroutine at a time. Pipe.Wake says that it
	// may have changed.
	Ready() bool
	// Read gives bytes, or the error behind the last of them: io.EOF where the client has closed its sending side in good
	// order. It does not wait.
	Read(p []byte) (n int, err error)
	// Write takes what the server has written, of which several goroutines may be at work. It may wait for the
	// client, for so long, as Conn.Write does. The error is the client's.
	Write(p []byte, within time.Duration) (n int, err error)
	// Admitted is called when the client has logged in, or has begun to do what needs no log-in.
	Admitted()
}

// NewPipe makes one in place of a client's connection.
func NewPipe(of Conn, end PipeEnd) *Pipe {
	p := &Pipe{Conn: of, end: end, over: make(chan struct{}), wake: make(chan struct{}, 1)}
	at := of.RemoteAddr()
	p.seat = newGuest(addrPort(at))
	var o outside = pipeSeat{of, end}
	p.seat.outside.Store(&o)
	return p
}

// A pipeSeat tells whoever has let the client in, and the other end, that the client has logged in.
type pipeSeat struct {
	of  Conn
	end PipeEnd
}

func (s pipeSeat) admit() {
	s.of.guest().admit()
	s.end.Admitted()
}
func (s pipeSeat) leave() {}

// Wake has the server's read look again for what is Ready.
func (p *Pipe) Wake() { poke(p.wake) }

// Fail ends the Pipe because the client is lost, or for any other reason: its server gets the error.
func (p *Pipe) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
	poke(p.wake)
}

// Over is closed when the server has closed the Pipe.
func (p *Pipe) Over() <-chan struct{} { return p.over }

// InOrder says whether the server has closed the Pipe in good order. A link that breaks has not.
func (p *Pipe) InOrder() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inOrder
}

func (p *Pipe) guest() *guest { return p.seat }

// ready says whether there are bytes to read, or why there will be none.
func (p *Pipe) ready() (bool, error) {
	if err := p.mayRead(); err != nil {
		return false, err
	}
	return p.end.Ready(), nil
}

func (p *Pipe) mayRead() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return linkError("read", net.ErrClosed)
	case p.isOver():
		return os.ErrDeadlineExceeded
	case p.failed != nil:
		return linkError("read", p.failed)
	case p.ended:
		return io.EOF // what the client may still send is of no use any more
	}
	return nil
}

// isOver says whether reads end now. The caller holds mu.
func (p *Pipe) isOver() bool {
	return p.interrupted || !p.deadline.IsZero() && !time.Now().Before(p.deadline)
}

// await waits until something has changed, or the deadline.
func (p *Pipe) await() {
	p.mu.Lock()
	until := p.deadline
	p.mu.Unlock()
	awaitUntil(p.wake, until)
}

func (p *Pipe) Read(b []byte) (int, error) {
	for {
		if ready, err := p.ready(); err != nil {
			return 0, err
		} else if ready {
			return p.end.Read(b)
		}
		p.await()
	}
}

func (p *Pipe) ReadInto(b Buffer) (int, error) {
	for waits := false; ; waits = true {
		ready, err := p.ready()
		if err != nil {
			return 0, err
		}
		if ready {
			space := b.Space()
			if space == nil {
				return 0, ErrNoSpace
			}
			return p.end.Read(space)
		}
		if !waits {
			b.Idle()
		}
		p.await()
	}
}

// change changes what reads depend on.
func (p *Pipe) change(by func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	by()
	poke(p.wake)
}

func (p *Pipe) SetReadDeadline(t time.Time) { p.change(func() { p.deadline = t }) }

func (p *Pipe) Interrupt() { p.change(func() { p.interrupted = true }) }

func (p *Pipe) IsInterrupted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.interrupted
}

func (p *Pipe) Resume(deadline time.Time) {
	p.change(func() { p.interrupted, p.deadline = false, deadline })
}

func (p *Pipe) Write(b []byte, within time.Duration) (int, error) {
	if err := p.mayWrite(); err != nil {
		return 0, err
	}
	n, err := p.end.Write(b, within)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = linkError("write", err)
	}
	return n, err
}

func (p *Pipe) mayWrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.cut:
		return ErrCut
	case p.closed:
		return linkError("write", net.ErrClosed)
	case p.ended:
		return linkError("write", syscall.EPIPE)
	case p.failed != nil:
		return linkError("write", p.failed)
	}
	return nil
}

func (p *Pipe) WriteAll(limit time.Duration, all ...[]byte) (n int64, err error) {
	for _, b := range all {
		err := persist(p, limit, func(within time.Duration) error {
			some, err := p.Write(b, within)
			n, b = n+int64(some), b[some:]
			return err
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (p *Pipe) WriteRaw(time.Duration, func(uintptr) bool) error { return errors.ErrUnsupported }

func (p *Pipe) AllowsRaw() bool { return false }

func (p *Pipe) CutWrites() { p.change(func() { p.cut = true }) }

func (p *Pipe) cutOr(err error) error { return err }

// Unacknowledged is 0: the other end has what was written.
func (p *Pipe) Unacknowledged() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 0, p.failed
}

func (p *Pipe) PeerClosed() (bool, error) {
	var b [512]byte
	for {
		if ready, err := p.ready(); err == io.EOF {
			return true, nil
		} else if err != nil || !ready {
			return false, err
		}
		if _, err := p.end.Read(b[:]); err != nil {
			return err == io.EOF, nil
		}
	}
}

func (p *Pipe) HasLeft() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed != nil
}

func (p *Pipe) AwaitReset() error {
	for {
		p.mu.Lock()
		err := p.failed
		if err == nil && (p.closed || p.isOver()) {
			err = os.ErrDeadlineExceeded
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
		p.await()
	}
}

func (p *Pipe) CloseWrite() error {
	p.change(func() { p.ended = true })
	return nil
}

func (p *Pipe) ResetOnClose(on bool) { p.reset.Store(on) }

func (p *Pipe) Abort() { p.close(false) }

func (p *Pipe) Close() error {
	p.close(!p.reset.Load())
	return nil
}

func (p *Pipe) close(inOrder bool) {
	p.seat.leave()
	p.change(func() {
		if !p.closed {
			p.closed, p.inOrder = true, inOrder
			close(p.over)
		}
	})
}

func (p *Pipe) awaitEnd(time.Duration) error { return discard(p) }
func (p *Pipe) view() view                   { return view{state: established} }
func (p *Pipe) window() uint32               { return 0 }
func (p *Pipe) Observe()                     {}
