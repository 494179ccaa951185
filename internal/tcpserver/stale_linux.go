package tcpserver

import (
	"time"

	"golang.org/x/sys/unix"
)

// staleTime is the age of bytes at which their client may have sent them elsewhere. It is a variable for tests.
var staleTime = 10 * time.Second

// isStale says whether a client that was accepted just now has sent what lies there unread for long. Then this program
// was frozen: the system goes on taking clients in.
func isStale(c Conn) bool {
	t, ok := c.(*tcpConn)
	if !ok {
		return false // a client of TLS has answered this program since
	}
	info, err := t.info()
	if err != nil {
		return false
	}
	unread := 0
	err = control(t.raw, func(fd int) (err error) {
		unread, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return err == nil && unread > 0 && time.Duration(info.Last_data_recv)*time.Millisecond > staleTime
}
