package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mbus/internal/client"
)

const (
	// firstLook and lastLook bound the time between two looks at what is unread in a pipe.
	firstLook = time.Millisecond
	lastLook  = 100 * time.Millisecond

	// leaves is how long a reader that has taken everything may need to end: `head -1`
	// takes a block, and wants a line.
	leaves = 20 * time.Millisecond

	// slow is how long a drain waits for its reader: one that reads on for longer is slow, and
	// will read the rest. The broker waits for five minutes.
	slow = 10 * time.Second

	// lastWords is the time for a reader when the program ends by a signal.
	lastWords = 2 * time.Second
)

// errReaderLeft says that standard output, or standard error, has no reader any more.
var errReaderLeft = errors.New("standard output has no reader any more")

// A pipe is standard output where that is one. The system tells how many bytes in it are
// unread, and so which messages its reader has. Where others write to it as well, what is
// theirs is taken for ours, and messages count later. A nil pipe does nothing.
type pipe struct {
	fd      int
	follows bool // messages are acknowledged one by one

	written int64   // bytes
	ends    []int64 // where the messages that were not taken end, of written and of what will be
	first   int64   // messages before ends
	pause   time.Duration

	conn   atomic.Pointer[client.Consumer] // that is woken
	broken atomic.Bool                     // it has no reader
	timer  *time.Timer
}

func outputIsPipe() bool {
	var s unix.Stat_t
	err := unix.Fstat(unix.Stdout, &s)
	return err == nil && s.Mode&unix.S_IFMT == unix.S_IFIFO
}

// outputPipe returns the pipe that standard output is, nil if it is none.
func outputPipe(follows bool) *pipe {
	if !pipesTell || !outputIsPipe() {
		return nil
	}
	p := &pipe{fd: unix.Stdout, follows: follows, pause: firstLook}
	if follows {
		go p.awaitBroken()
	}
	return p
}

// awaitBroken waits until there is no reader.
func (p *pipe) awaitBroken() {
	fds := []unix.PollFd{{Fd: int32(p.fd)}}
	for fds[0].Revents&noReader == 0 {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
	p.broken.Store(true)
	if c := p.conn.Load(); c != nil {
		c.Wake()
	}
}

// watch has the connection woken when the reader leaves, until stop is called. Its
// messages are counted from 1.
func (p *pipe) watch(c *client.Consumer) (stop func()) {
	if p == nil {
		return func() {}
	}
	p.ends, p.first = p.ends[:0], 0
	p.conn.Store(c)
	if p.broken.Load() {
		c.Wake()
	}
	return func() {
		p.conn.Store(nil)
		if p.timer != nil {
			p.timer.Stop()
		}
	}
}

// add counts a message that ends at so many bytes behind what was written.
func (p *pipe) add(end int) {
	if p != nil && p.follows {
		p.ends = append(p.ends, p.written+int64(end))
	}
}

// wrote counts bytes that were written.
func (p *pipe) wrote(n int) {
	if p != nil {
		p.written += int64(n)
	}
}

// left reports whether there is no reader.
func (p *pipe) left() bool { return p != nil && p.broken.Load() }

// unread is how many bytes are in the pipe.
func (p *pipe) unread() int64 {
	n, err := unreadIn(p.fd)
	if err != nil {
		return 0 // it can't be known
	}
	return int64(n)
}

// taken is how many messages of the connection the reader has.
func (p *pipe) taken() int64 {
	read, n := p.written-p.unread(), 0
	for n < len(p.ends) && p.ends[n] <= read {
		n++
	}
	p.first += int64(n)
	p.ends = append(p.ends[:0], p.ends[n:]...)
	if n > 0 {
		p.pause = firstLook
	}
	return p.first
}

// wakeLater has the connection woken after a while if there are messages that were not
// taken.
func (p *pipe) wakeLater(c *client.Consumer) {
	if len(p.ends) == 0 {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(p.pause, c.Wake)
	p.pause = min(2*p.pause, lastLook)
}

// await waits until the reader has everything, or has left, or for a while after stop, and
// without acknowledgements for as long as a slow reader is given. It returns how many
// messages the reader has.
func (p *pipe) await(stop context.Context) int64 {
	var end <-chan time.Time
	if !p.follows {
		end = time.After(slow)
	}
	stopped := stop.Done()
	for pause := firstLook; p.unread() > 0 && !broken(p.fd); pause = min(2*pause, lastLook) {
		select {
		case <-stopped:
			stopped, end = nil, time.After(lastWords)
		case <-end:
			return p.taken()
		case <-time.After(pause):
		}
	}
	if !p.follows {
		p.awaitLeaving()
	}
	if broken(p.fd) {
		p.broken.Store(true)
	}
	return p.taken()
}

// awaitLeaving gives a reader that has everything the time to leave.
func (p *pipe) awaitLeaving() {
	fds := []unix.PollFd{{Fd: int32(p.fd)}}
	_, _ = unix.Poll(fds, int(leaves.Milliseconds())) // broken says what has come of it
}

// broken reports whether the descriptor is a pipe, or a socket, without a reader.
func broken(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: askReader}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&noReader != 0
}

// endOfPipe ends the program as a write to a pipe without a reader does: by SIGPIPE,
// which a shell shows as 141. It returns where that is ignored.
func endOfPipe() {
	signal.Reset(syscall.SIGPIPE)
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if broken(int(f.Fd())) {
			_, _ = f.Write([]byte{'\n'})
		}
	}
}
