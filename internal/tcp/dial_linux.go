package tcp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has the connection end when the other side's system has not
// acknowledged for so long what was written.
func limitUnacknowledged(conn *net.TCPConn, limit time.Duration) error {
	return control(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
}
