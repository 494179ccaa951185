// Package tcpserver serves TCP ports, with and without TLS. It accepts connections, without end
// and without a busy loop when no file descriptors are left, limits their number, and waits for
// them when a server stops. A Conn is what a server may ask of one: reads and writes that tell
// a slow peer from a stalled one, and closes that show whether the peer has read everything.
package tcpserver

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// The pauses after a failed accept (too many open files, say). Connections that were accepted
// go on.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// repeatAfter is the time between two log lines while accepts fail.
const repeatAfter = time.Minute

// each calls start with each connection that accept gives, one after the other, until that says net.ErrClosed. It logs
// that accepts fail: when they begin to, each minute, and when they succeed again.
func each[C any](accept func() (C, error), address net.Addr, log *slog.Logger, start func(C)) {
	pause := firstPause
	var failed, logged time.Time // zero while accepts succeed
	for {
		conn, err := accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if failed.IsZero() {
				failed = time.Now()
			}
			if time.Since(logged) >= repeatAfter {
				log.Warn("no connection can be taken; clients wait: raise the limit of descriptors, or lower -max-connections",
					"address", address, "reason", err)
				logged = time.Now()
			}
			time.Sleep(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		if !failed.IsZero() {
			log.Info("connections are taken again", "address", address, "after", time.Since(failed).Round(time.Millisecond))
			failed, logged = time.Time{}, time.Time{}
		}
		pause = firstPause
		start(conn)
	}
}
