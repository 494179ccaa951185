package line

import (
	"strconv"
	"sync"

	"mbus/internal/broker"
)

// An ackTracker acknowledges a producer's messages. They are appended in groups, each of some
// messages in a row of the connection and to one partition or more; the count that is
// acknowledged grows as far as the groups are durable without a gap.
//
// A goroutine writes the counts. It exists only while there is something to
// write, and writes the latest, so that a slow reader misses some.
type ackTracker struct {
	c    *conn
	line [24]byte // of write

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	pending []pendingAck // not durable yet, or behind one that is not; in order
	first   uint64       // the number of pending[0]
	durable uint64       // messages
	written uint64       // the count that the client got
	err     error        // of the first group that failed
	ended   bool         // a group failed, and durable stays what it is
	writing bool
}

// A pendingAck is a group of messages that were appended together.
type pendingAck struct {
	messages   int
	partitions int // in which they are not durable yet
	failed     bool
}

// newAckTracker acknowledges counts that are above durable.
func newAckTracker(c *conn, durable uint64) *ackTracker {
	a := &ackTracker{c: c, durable: durable, written: durable}
	a.changed.L = &a.mu
	return a
}

// begin announces messages that are appended to so many partitions, and returns the number of
// their group. It waits while too many are on their way.
func (a *ackTracker) begin(messages, partitions int) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) >= broker.InFlight {
		a.changed.Wait()
	}
	a.pending = append(a.pending, pendingAck{messages: messages, partitions: partitions})
	return a.first + uint64(len(a.pending)) - 1
}

// complete says that the messages of a group are durable in one of its partitions, or failed
// there. It does not block, so that the log may call it.
func (a *ackTracker) complete(number uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &a.pending[number-a.first]
	p.partitions--
	if err != nil {
		p.failed = true
		if a.err == nil {
			a.err = err
			a.c.net.Interrupt()
		}
	}
	n := 0
	for ; n < len(a.pending) && a.pending[n].partitions == 0; n++ {
		if a.ended = a.ended || a.pending[n].failed; !a.ended {
			a.durable += uint64(a.pending[n].messages)
		}
	}
	if n > 0 {
		a.first += uint64(n)
		a.pending = append(a.pending[:0], a.pending[n:]...)
		a.changed.Broadcast()
	}
	if a.durable > a.written && !a.writing {
		a.writing = true
		go a.write()
	}
}

// failure is the error of the first group that failed.
func (a *ackTracker) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// write writes counts until the latest has been written.
func (a *ackTracker) write() {
	for {
		a.mu.Lock()
		n := a.durable
		if n == a.written {
			a.writing = false
			a.changed.Broadcast()
			a.mu.Unlock()
			return
		}
		a.written = n
		a.mu.Unlock()
		p := append(strconv.AppendUint(append(a.line[:0], '+'), n, 10), '\n')
		if _, err := a.c.net.Write(p, a.c.broker.Limits.WriteTime); err != nil {
			a.c.net.Interrupt() // the reader gets the error
		}
	}
}

// finish waits until all groups are complete and their counts written, and returns the
// count that was.
func (a *ackTracker) finish() (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) > 0 || a.writing {
		a.changed.Wait()
	}
	return a.written, a.err
}
