package client

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has the connection end when the other side's system has not
// acknowledged for so long what was written.
func limitUnacknowledged(conn *net.TCPConn, limit time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
	if err := errors.Join(e, err); err != nil {
		return fmt.Errorf("limiting how long bytes may be unacknowledged: %w", err)
	}
	return nil
}
