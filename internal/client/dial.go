// Package client has both clients of the line protocol's ports: Producer publishes to port
// 9990, Consumer and the requests of administration go to port 9991. PROTOCOL.md has the
// protocol.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

const (
	// dialTimeout is for a host that does not answer at all.
	dialTimeout = 10 * time.Second

	// keepAlive is the idle time after which the system asks the other side's, and the
	// time between its questions; after keepAliveCount of them the connection has ended.
	keepAlive      = 15 * time.Second
	keepAliveCount = 4

	// maxLine is the longest line of a response, in bytes: far more than any error that a
	// broker has words for.
	maxLine = 16 << 10

	// readSize is the buffer for one read, in bytes: several batches for the price of a
	// system call.
	readSize = 256 << 10
)

var (
	// ErrUnreachable says that there is no connection.
	ErrUnreachable = errors.New("can't reach the broker")

	// ErrLost says that the connection ended too early.
	ErrLost = errors.New("connection lost")
)

// An Error is the line with which a broker ends a connection that it can't go on with.
type Error struct{ Code, Text string }

func (e *Error) Error() string {
	return strings.TrimSpace("the broker answered -" + e.Code + " " + e.Text)
}

// parseError reads an error line without its "-" and LF.
func parseError(line string) *Error {
	code, text, _ := strings.Cut(line, " ")
	return &Error{Code: code, Text: text}
}

// connectOptions say how connect makes a connection.
type connectOptions struct {
	timeout time.Duration // for connecting; 0 for dialTimeout

	// unacknowledged is the time that written bytes may be unacknowledged by the other
	// side's system; 0 for the system's limit, a quarter of an hour. It also ends a
	// connection to a program that reads nothing. Only Linux has it.
	unacknowledged time.Duration

	// abort has the connection be reset, not closed, when it ends, whatever ends the
	// program, until resetOnClose says otherwise.
	abort bool
}

// connect connects to the broker, logs in and sends the request line. A machine that
// vanishes ends the connection after a minute or so, also while neither side writes.
// The error wraps ErrUnreachable or ErrLost.
func (b *Broker) connect(line string, o connectOptions) (*conn, error) {
	if o.timeout == 0 {
		o.timeout = dialTimeout
	}
	d := net.Dialer{Timeout: o.timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: keepAliveCount}}
	dialed, err := d.DialContext(context.Background(), "tcp", b.Addr)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: %w: no broker listens there: start one, or say with -host and -port where it is", ErrUnreachable, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	c, err := b.begin(dialed.(*net.TCPConn), line, o)
	if err != nil {
		dialed.Close()
		return nil, err
	}
	return c, nil
}

// begin makes a connection ready.
func (b *Broker) begin(tcp *net.TCPConn, line string, o connectOptions) (*conn, error) {
	if o.unacknowledged > 0 {
		if err := limitUnacknowledged(tcp, o.unacknowledged); err != nil {
			return nil, err
		}
	}
	login := b.login(tcp)
	if login != "" && !b.isPrivate(tcp) {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, errNotPrivate)
	}
	c, err := newConn(tcp, b, o.timeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if o.abort {
		if err := c.resetOnClose(true); err != nil {
			return nil, fmt.Errorf("the connection can't be set to be reset: %w", err)
		}
	}
	if _, err := io.WriteString(c, login+line); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return c, nil
}
