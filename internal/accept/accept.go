// Package accept owns how listeners give out connections, without end and without
// a busy loop when there are no file descriptors left, and how a server that stops
// waits for the end of its connections.
package accept

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
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

// Await waits until the connections that count as running have ended. If the context
// ends first it calls cutOff, which has them end at once.
func Await(ctx context.Context, running *sync.WaitGroup, cutOff func()) {
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		cutOff()
		<-ended
	}
}
