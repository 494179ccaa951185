// Package accept owns how listeners give out connections, without end and without
// a busy loop when there are no file descriptors left, how many there may be, and how
// a server that stops waits for their end.
package accept

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// The pauses after a failed accept (too many open files, say): those who are
// connected go on.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// Each calls start with each connection of l, one after the other, until l is
// closed.
func Each(l net.Listener, log *slog.Logger, start func(net.Conn)) {
	pause := firstPause
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("cannot take a connection", "reason", err)
			time.Sleep(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		start(conn)
	}
}
