package tcpserver

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// looks is how often within its limit Persist sees whether the client has taken
// something.
const looks = 4

// Persist calls op, which writes to conn, until it ends otherwise than by its
// deadline, or the client has taken nothing for limit, and at most a quarter longer:
// how long it takes for everything is the client's affair. within sets the deadline of
// each call. That op could write nothing does not say that nothing was taken: the
// system lets more be written when there is much room only.
func Persist(conn net.Conn, limit time.Duration, within func(time.Duration), op func() error) error {
	last := int64(-1)
	for idle := 0; ; idle++ {
		within(limit / looks)
		err := op()
		if !errors.Is(err, os.ErrDeadlineExceeded) || idle == looks {
			return err
		}
		if now := taken(conn); now > last {
			last, idle = now, 0
		}
	}
}

// taken is the number of bytes that the client's system has acknowledged, as far as
// that can be known.
func taken(conn net.Conn) int64 {
	if c, ok := conn.(syscall.Conn); ok {
		if n, err := Acknowledged(c); err == nil {
			return int64(n)
		}
	}
	return 0
}
