package tcpserver

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// A Conn is a connection of a server, over TCP or TLS: a front does not know which. One
// goroutine reads; several may write.
type Conn interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// RemoteAddrPort is RemoteAddr; an IPv4 address in IPv6 is IPv4.
	RemoteAddrPort() netip.AddrPort
	LocalAddrPort() netip.AddrPort // likewise

	// IsPrivate says whether nobody else reads what is sent: over TLS, or from one loopback address to another.
	IsPrivate() bool
	// CertificateName is the name in the certificate that the peer has proven to own, and that a client authority
	// of the server has signed: the common name, or the first DNS name, URI or mail address where there is none.
	// It is "" without a certificate.
	CertificateName() string
	// ServerName is the host name by which the client reaches this server: the one of its TLS handshake, if the
	// server's certificate is for it. Over TLS isTLS is true, also without a name.
	ServerName() (name string, isTLS bool)

	// Read returns io.EOF when the peer has closed its sending side in good order: over TCP
	// with a FIN, over TLS with a close_notify. A TLS connection that ends without one was
	// aborted, and Read returns another error.
	Read(p []byte) (n int, err error)
	// ReadInto reads into space that b offers. While it waits for bytes it holds no buffer.
	ReadInto(b Buffer) (n int, err error)
	// SetReadDeadline sets the time at which reads end with os.ErrDeadlineExceeded; the zero
	// time is never. After Interrupt it has no effect.
	SetReadDeadline(t time.Time)
	// Interrupt ends a read that waits, and all later ones, with os.ErrDeadlineExceeded. Any
	// goroutine may call it.
	Interrupt()
	IsInterrupted() bool
	// Resume undoes Interrupt and sets the read deadline.
	Resume(deadline time.Time)

	// Write writes p within some time. After os.ErrDeadlineExceeded the first n bytes count as
	// written; only p[n:] may follow, even if it is empty.
	Write(p []byte, within time.Duration) (n int, err error)
	// WriteAll writes to a peer that must take something within limit, and again and again,
	// however long it takes for everything. n counts as with Write. The slice p is used up.
	WriteAll(limit time.Duration, p ...[]byte) (n int64, err error)
	// WriteRaw is WriteAll for f, which writes to the descriptor until it is done. The error
	// is errors.ErrUnsupported, and nothing was written, unless AllowsRaw.
	WriteRaw(limit time.Duration, f func(fd uintptr) (done bool)) error
	AllowsRaw() bool
	// CutWrites ends a write that waits, and all later ones, with ErrCut. Any goroutine may
	// call it.
	CutWrites()

	// Unacknowledged is how many bytes were written that the peer's system has not
	// acknowledged, at least. The error is the connection's where it has one, such as a reset.
	Unacknowledged() (int, error)
	// PeerClosed says, without waiting, whether the peer has closed its sending side. It
	// throws away what the peer sent before that.
	PeerClosed() (bool, error)
	// HasLeft says, without waiting, whether the peer has closed its sending side, or everything, or is gone. What it
	// sent before that can still be read.
	HasLeft() bool
	// AwaitReset waits until the connection is reset, or Interrupt is called, and returns that
	// error.
	AwaitReset() error
	// Observe notes how many bytes the peer's system would take now; see ConfirmClose.
	Observe()

	// CloseWrite closes the sending side in good order; the peer may go on sending.
	CloseWrite() error
	// ResetOnClose says whether the close to come, also the system's if this program dies, is
	// to be a reset, which the peer can't take for the end of what was written.
	ResetOnClose(bool)
	// Abort closes with a reset. Any goroutine may call it.
	Abort()
	// Close closes in good order, unless ResetOnClose says otherwise.
	Close() error

	guest() *guest
	// awaitEnd reads until the peer has closed its side in good order. Where that alone does
	// not show whether the peer's program read everything, a reset has some time to come.
	awaitEnd(resetTime time.Duration) error
	// view is what the system sees of the connection; the zero view where it says nothing.
	view() view
	// window is the most bytes that Observe saw the peer's system take.
	window() uint32
	// taken is the number of bytes that the peer's system has acknowledged, as far as is known: one that grows
	// shows a peer that takes its time.
	taken() int64
	// cutOr makes a time-out ErrCut where writes were cut.
	cutOr(error) error
}

// A Buffer is where ReadInto reads to.
type Buffer interface {
	// Space is where the next bytes go, one or more; nil where there is no memory for that,
	// which ends the read with ErrNoSpace.
	Space() []byte
	// Idle is called when no bytes have come: the space is unused, and may be given up until
	// Space is called again.
	Idle()
}

var (
	// ErrCut ends writes after CutWrites.
	ErrCut = errors.New("the connection is cut")

	// ErrNoSpace ends a ReadInto for which there is no space.
	ErrNoSpace = errors.New("there is no space for bytes that have come")
)
