// Package tcpserver owns what servers of TCP ports share: how listeners accept connections,
// without end and without a busy loop when no file descriptors are left, how many connections
// there may be, how a server that stops waits for them, and what the system knows of a
// connection: the slow client and the stalled one.
package tcpserver

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

// repeatAfter is how long accepts may go on failing until it is logged again.
const repeatAfter = time.Minute

// Each calls start with each connection of l, one after the other, until l is
// closed. That connections can't be taken is logged when it begins, each minute that
// it lasts, and when it has ended.
func Each(l net.Listener, log *slog.Logger, start func(net.Conn)) {
	pause := firstPause
	var failed, logged time.Time // zero while connections are taken
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if failed.IsZero() {
				failed = time.Now()
			}
			if time.Since(logged) >= repeatAfter {
				log.Warn("no connection can be taken; clients wait: raise the limit of descriptors, or lower -max-connections",
					"address", l.Addr(), "reason", err)
				logged = time.Now()
			}
			time.Sleep(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		if !failed.IsZero() {
			log.Info("connections are taken again", "address", l.Addr(), "after", time.Since(failed).Round(time.Millisecond))
			failed, logged = time.Time{}, time.Time{}
		}
		pause = firstPause
		start(conn)
	}
}
