package line

import (
	"strconv"
	"sync"
	"time"
)

// Confirms are the acknowledgements that are durable, for a client that wants to be
// told. The zero value is ready.
type confirms struct {
	mu      sync.Mutex // guards what follows
	acked   uint64     // the highest count that the client has said
	durable uint64     // of that
	told    uint64
	some    []verdict // durable, said with "=", and not told yet
}

// expect notes that the client has acknowledged up to n.
func (c *confirms) expect(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = max(c.acked, n)
}

// are says what has become durable: a count, and more.
func (c *confirms) are(n uint64, some []verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durable = max(c.durable, n)
	for _, v := range some {
		if i := len(c.some) - 1; i >= 0 && c.some[i].to+1 == v.from {
			c.some[i].to = v.to
		} else {
			c.some = append(c.some, v)
		}
	}
}

// isLatest says whether the client has not acknowledged more than n since.
func (c *confirms) isLatest(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n == c.acked
}

// tell appends the lines that tell the client what it has not been told yet.
func (c *confirms) tell(dst []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.durable > c.told {
		c.told = c.durable
		dst = append(strconv.AppendUint(append(dst, '+'), c.told, 10), '\n')
	}
	for _, v := range c.some {
		dst = append(v.notes(append(dst, '=')), '\n')
	}
	c.some = nil
	return dst
}

// confirmAgain is the time after which it is asked again for what was acknowledged
// and could not be written, which the broker tries again, too.
const confirmAgain = time.Second

// confirmSome has the client told when what it has acknowledged with "=" is durable.
func (f *follower) confirmSome() {
	if len(f.some) > 0 {
		f.awaitDurable(0, f.some)
		f.some = nil
	}
}

// awaitDurable has the client told when what it has acknowledged up to n, and some
// more, is durable.
func (f *follower) awaitDurable(n uint64, some []verdict) {
	f.broker.SyncPositions(func(err error) {
		switch {
		case err == nil:
			f.confirms.are(n, some)
			f.wake()
		case (f.confirms.isLatest(n) || len(some) > 0) && !f.hasEnded():
			time.AfterFunc(confirmAgain, func() { f.awaitDurable(n, some) })
		}
	})
}
