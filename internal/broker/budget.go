package broker

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Errors of a Budget.
var (
	ErrNeverFits = errors.New("it is more than half of the memory of all requests")
	ErrGivenUp   = errors.New("waiting for memory was given up")
)

// A Budget bounds the memory, in bytes, that connections hold together.
//
// A request that arrives in parts waits for memory (Wait), and for more when a part of it has
// arrived. Requests that hold a part must not wait for each other: small parts may take a
// quarter, all parts a half, and a request that has all its memory waits for nothing. So a
// large part waits for whole requests, and a small part for large ones.
type Budget struct {
	max     int64
	used    atomic.Int64
	waiting atomic.Int64 // length of the queues

	mu     sync.Mutex // guards what follows
	parts  [shares]int64
	queues [shares][]*claim // first come, first served
}

// A Share says what a Hold is for.
type Share int

// A whole request, or a part of one: then the connection will need more.
const (
	Whole Share = iota
	LargePart
	SmallPart
	shares
)

// A Hold is memory that Wait has granted: so many bytes, 0 for none.
type Hold struct {
	Bytes int
	Share Share
}

// A claim is one call of Wait.
type claim struct {
	have, want Hold
	granted    chan struct{}
}

// NewBudget is one of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

// Take reserves n bytes, or reports false if fewer are left. It does not queue behind calls of
// Wait.
func (b *Budget) Take(n int) bool { return b.takeUpTo(b.max, n) }

func (b *Budget) takeUpTo(limit int64, n int) bool {
	for {
		used := b.used.Load()
		if used+int64(n) > limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// Give returns n bytes of Take.
func (b *Budget) Give(n int) {
	b.used.Add(-int64(n))
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.grant()
	}
}

// waitable is the memory for calls of Wait. It leaves a 32nd to callers that can't wait:
// fetch responses, and messages of lines.
func (b *Budget) waitable() int64 { return b.max - b.max/32 }

// Fits says, with ErrNeverFits, that a whole request of n bytes will never have its memory.
func (b *Budget) Fits(n int) error {
	if int64(n) > b.waitable()/2 {
		return ErrNeverFits
	}
	return nil
}

// Wait replaces the caller's hold have by want, when there is enough and all earlier calls for
// the same share have theirs. The error is ErrGivenUp when quit is closed: then the caller
// still has have. Only a caller that holds a part may wait for more. short is called before
// the wait.
func (b *Budget) Wait(have, want Hold, quit <-chan struct{}, short func()) error {
	c := &claim{have: have, want: want}
	b.mu.Lock()
	if len(b.queues[want.Share]) == 0 && b.exchange(c) {
		b.mu.Unlock()
		return nil
	}
	c.granted = make(chan struct{})
	b.queues[want.Share] = append(b.queues[want.Share], c)
	b.waiting.Add(1)
	b.grant() // memory that was returned meanwhile
	b.mu.Unlock()
	short()
	select {
	case <-c.granted:
		return nil
	case <-quit:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queues[want.Share], c); i >= 0 {
		b.queues[want.Share] = slices.Delete(b.queues[want.Share], i, i+1)
		b.waiting.Add(-1)
	} else { // it was granted just now
		b.parts[want.Share] -= int64(want.Bytes)
		b.parts[have.Share] += int64(have.Bytes)
		b.used.Add(int64(have.Bytes - want.Bytes))
	}
	b.grant()
	return ErrGivenUp
}

// exchange grants a claim, or reports false. The caller holds mu.
func (b *Budget) exchange(c *claim) bool {
	parts := b.parts
	parts[c.have.Share] -= int64(c.have.Bytes)
	parts[c.want.Share] += int64(c.want.Bytes)
	limit := b.waitable()
	if c.want.Share == SmallPart && parts[SmallPart] > limit/4 ||
		c.want.Share != Whole && parts[SmallPart]+parts[LargePart] > limit/2 ||
		!b.takeUpTo(limit, c.want.Bytes-c.have.Bytes) {
		return false
	}
	b.parts = parts
	return true
}

// grant grants the first claims of the queues as long as there is enough. The caller holds mu.
func (b *Budget) grant() {
	for share := range b.queues {
		q := &b.queues[share]
		for len(*q) > 0 && b.exchange((*q)[0]) {
			close((*q)[0].granted)
			*q = slices.Delete(*q, 0, 1)
			b.waiting.Add(-1)
		}
	}
}

// Return returns a hold of Wait.
func (b *Budget) Return(h Hold) {
	if h.Bytes == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parts[h.Share] -= int64(h.Bytes)
	b.used.Add(-int64(h.Bytes))
	b.grant()
}

// IsShort reports whether more than half of the memory is used.
func (b *Budget) IsShort() bool { return b.used.Load() > b.max/2 }

// Waiting is the number of calls of Wait that wait.
func (b *Budget) Waiting() int { return int(b.waiting.Load()) }
