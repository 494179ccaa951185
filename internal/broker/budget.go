package broker

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// What Budget.Wait may be told.
var (
	ErrNeverFits = errors.New("it is more than all requests together may take in memory")
	ErrGivenUp   = errors.New("waiting for memory was given up")
)

// A Budget bounds the memory, in bytes, that connections hold together.
type Budget struct {
	max     int64
	used    atomic.Int64
	waiting atomic.Int64 // length of the queue

	mu    sync.Mutex // guards what follows
	queue []*claim   // first come, first served
}

// A claim is what one caller of Wait waits for.
type claim struct {
	bytes   int
	granted chan struct{}
}

// NewBudget is one of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

// Take reserves n bytes, or reports that there are not as many left. It does not give way
// to those who wait.
func (b *Budget) Take(n int) bool {
	for {
		used := b.used.Load()
		if used+int64(n) > b.max {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// Wait reserves n bytes when they are there and all who came before have theirs. The error
// is ErrNeverFits at once, or ErrGivenUp when quit is closed. So that no two wait for each
// other, a caller takes all that it needs at once, and holds nothing else meanwhile.
func (b *Budget) Wait(n int, quit <-chan struct{}) error {
	if int64(n) > b.max {
		return ErrNeverFits
	}
	if b.waiting.Load() == 0 && b.Take(n) {
		return nil
	}
	c := &claim{n, make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, c)
	b.waiting.Add(1)
	b.grant()
	b.mu.Unlock()
	select {
	case <-c.granted:
		return nil
	case <-quit:
		b.withdraw(c)
		return ErrGivenUp
	}
}

// withdraw ends a claim that may have been granted meanwhile.
func (b *Budget) withdraw(c *claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, c); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
		b.waiting.Add(-1)
	} else {
		b.used.Add(-int64(c.bytes))
	}
	b.grant()
}

// grant serves the head of the queue as long as there is enough. The caller holds mu.
func (b *Budget) grant() {
	for len(b.queue) > 0 && b.Take(b.queue[0].bytes) {
		close(b.queue[0].granted)
		b.queue = slices.Delete(b.queue, 0, 1)
		b.waiting.Add(-1)
	}
}

// Give returns n bytes.
func (b *Budget) Give(n int) {
	b.used.Add(-int64(n))
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.grant()
	}
}

// Waiting is how many callers of Wait wait.
func (b *Budget) Waiting() int { return int(b.waiting.Load()) }
