// Package client connects programs to a broker.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// idle is how long a connection says nothing before the system asks the other side's,
// and how long it takes for no answer before it asks again.
const (
	idle = 15 * time.Second
	asks = 4
)

// Dial connects a client to a broker at addr, host:port, within the timeout; 0 is the
// system's, minutes. A machine that is gone without a word ends the connection after a
// minute or so, also while nobody writes. unacked is how long what was written may be
// unacknowledged by the other side's system; 0 is the system's limit, a quarter of an hour.
// It ends a connection to a program that reads nothing, too. On other systems than Linux it
// is the system's limit always.
func Dial(addr string, timeout, unacked time.Duration) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: idle, Count: asks}}
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: no broker listens there: start one, or say with -host and -port where it is", err)
	case err != nil:
		return nil, err
	}
	c := conn.(*net.TCPConn)
	if unacked == 0 {
		return c, nil
	}
	if err := limitUnacknowledged(c, unacked); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
