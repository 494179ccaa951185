package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"mbus/internal/client"
	"mbus/internal/flags"
)

// clearToEnd clears a line of a terminal from where it is written.
const clearToEnd = "\x1b[K"

// A progress rewrites one line of a terminal.
type progress struct {
	w     io.Writer
	acked func() int64

	start, last time.Time
	counted     int64 // acknowledged at last
}

// showProgress prints each second how far conn has come, where standard error is a terminal
// and the messages do not come from one. It ends with stop.
func showProgress(conn *client.Producer) (stop func()) {
	if !flags.Terminal(unix.Stderr) || flags.Terminal(unix.Stdin) {
		return func() {}
	}
	now := time.Now()
	p := &progress{w: os.Stderr, acked: conn.Acked, start: now, last: now}
	ticker := time.NewTicker(time.Second)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer ticker.Stop()
		p.run(ticker.C, end)
	}()
	return func() {
		close(end)
		<-ended
	}
}

// run writes the line at each tick, and at the end once more if it ever has.
func (p *progress) run(ticks <-chan time.Time, end <-chan struct{}) {
	shown := false
	for {
		select {
		case t := <-ticks:
			p.write(t, p.last, p.counted)
			shown = true
		case <-end:
			if shown {
				p.write(time.Now(), p.start, 0)
				fmt.Fprintln(p.w)
			}
			return
		}
	}
}

// write shows the count at t, and the rate since a time when it was counted.
func (p *progress) write(t, since time.Time, counted int64) {
	n := p.acked()
	rate := float64(n-counted) / max(t.Sub(since).Seconds(), 1e-3)
	fmt.Fprintf(p.w, "\rproducer: %d messages acknowledged, %.0f/s%s", n, rate, clearToEnd)
	p.last, p.counted = t, n
}
