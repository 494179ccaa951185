package delivery

import (
	"sync"
	"time"
)

// Confirms are the durable acknowledgements that the Sink gets. The zero value is ready.
type confirms struct {
	mu        sync.Mutex // guards what follows
	acked     uint64     // the highest count that the client has acknowledged
	durable   uint64     // of that
	confirmed uint64
	ranges    []Range // durable, acknowledged by ranges, and not confirmed yet
}

// begin notes that the client has acknowledged up to n.
func (c *confirms) begin(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = max(c.acked, n)
}

// complete notes that a count, and ranges, are durable.
func (c *confirms) complete(n uint64, ranges []Range) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durable = max(c.durable, n)
	for _, r := range ranges {
		if i := len(c.ranges) - 1; i >= 0 && c.ranges[i].Last+1 == r.First {
			c.ranges[i].Last = r.Last
		} else {
			c.ranges = append(c.ranges, r)
		}
	}
}

// isLatest reports whether the client has not acknowledged more than n since.
func (c *confirms) isLatest(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n == c.acked
}

// write gives the Sink the confirmations that it has not got yet.
func (c *confirms) write(sink Sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := uint64(0)
	if c.durable > c.confirmed {
		c.confirmed = c.durable
		count = c.durable
	}
	if count > 0 || len(c.ranges) > 0 {
		sink.Confirm(count, c.ranges)
	}
	c.ranges = nil
}

// confirmAgain is the time until the next try where acknowledgements could not be written. The
// broker tries to write them again, too.
const confirmAgain = time.Second

// ConfirmRanges has the Sink get the ranges that were acknowledged since it was last called
// when they are durable. It is called when those that came together have been acknowledged.
func (s *Session) ConfirmRanges() {
	if len(s.ranges) > 0 {
		s.awaitDurable(0, s.ranges)
		s.ranges = nil
	}
}

// awaitDurable has the Sink get what was acknowledged up to n, and ranges,
// when that is durable.
func (s *Session) awaitDurable(n uint64, ranges []Range) {
	s.sub.broker.SyncPositions(func(err error) {
		switch {
		case err == nil:
			s.confirms.complete(n, ranges)
			s.pump.wake()
		case (s.confirms.isLatest(n) || len(ranges) > 0) && !s.pump.hasEnded():
			time.AfterFunc(confirmAgain, func() { s.awaitDurable(n, ranges) })
		}
	})
}
