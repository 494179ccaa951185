package tcpserver

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Feed is a listener for a server of another kind, such as net/http's, whose connections come from Take. Any
// goroutine may call its methods.
type Feed struct {
	address net.Addr
	conns   chan Conn
	once    sync.Once
	closed  chan struct{}
}

// NewFeed makes one that says that it listens at an address.
func NewFeed(address net.Addr) *Feed {
	return &Feed{address: address, conns: make(chan Conn), closed: make(chan struct{})}
}

// Take gives the server a connection, which is closed where there is no server any more. It does not wait.
func (f *Feed) Take(c Conn) {
	select {
	case f.conns <- c:
	default:
		go func() {
			select {
			case f.conns <- c:
			case <-f.closed:
				c.Close()
			}
		}()
	}
}

// Accept is net.Listener's.
func (f *Feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return &fed{Conn: c}, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (f *Feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr is net.Listener's.
func (f *Feed) Addr() net.Addr { return f.address }

// ConnOf is the Conn that a Feed has given as a net.Conn; nil for any other.
func ConnOf(nc net.Conn) Conn {
	if f, ok := nc.(*fed); ok {
		return f.Conn
	}
	return nil
}

// A fed connection is a Conn as a net.Conn.
type fed struct {
	Conn
	writes atomic.Int64 // deadline of writes, in nanoseconds since 1970; 0 for none
}

// noDeadline is the time of a write without a deadline.
const noDeadline = 100 * 365 * 24 * time.Hour

func (f *fed) Write(p []byte) (int, error) {
	within := noDeadline
	if at := f.writes.Load(); at != 0 {
		within = time.Until(time.Unix(0, at))
	}
	return f.Conn.Write(p, within)
}

func (f *fed) SetDeadline(t time.Time) error {
	_ = f.SetReadDeadline(t)
	return f.SetWriteDeadline(t)
}

func (f *fed) SetReadDeadline(t time.Time) error {
	f.Conn.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline is of writes that begin later.
func (f *fed) SetWriteDeadline(t time.Time) error {
	at := int64(0)
	if !t.IsZero() {
		at = t.UnixNano()
	}
	f.writes.Store(at)
	return nil
}
