package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// idle is how long a connection says nothing before the system asks the other side's,
// and how long it takes for no answer before it asks again; userTimeout is how long what
// was written may be unacknowledged by the other side's system.
const (
	idle        = 15 * time.Second
	asks        = 4
	userTimeout = time.Minute
)

// Dial connects a client to a broker at addr, host:port, within the timeout; 0 is the
// system's, minutes. A machine that is gone without a word ends the connection after a
// minute or so, also while nobody writes.
func Dial(addr string, timeout time.Duration) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: idle, Count: asks}}
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%w: no broker listens there: start one, or say with -host and -port where it is", err)
	case err != nil:
		return nil, err
	}
	c := conn.(*net.TCPConn)
	err = control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
