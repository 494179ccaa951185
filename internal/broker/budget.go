package broker

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// What Budget.Wait may be told.
var (
	ErrNeverFits = errors.New("it is more than half of what all requests together may take in memory")
	ErrGivenUp   = errors.New("waiting for memory was given up")
)

// A Budget bounds the memory, in bytes, that connections hold together.
//
// Requests that come in pieces wait for it (Wait), and take more when a part of them has
// come. Those that hold a part must not wait for each other: small parts may take a quarter,
// all parts a half, and who has all that it needs waits for nothing. So a large part waits
// for those who have all that they need, and a small one for large ones.
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

// A whole request, or a part of one: then the connection will want more.
const (
	Whole Share = iota
	LargePart
	SmallPart
	shares
)

// A Hold is memory that a caller of Wait has: so many bytes, 0 for none.
type Hold struct {
	Bytes int
	Share Share
}

// A claim is what one caller of Wait waits for.
type claim struct {
	have, want Hold
	granted    chan struct{}
}

// NewBudget is one of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

// Take reserves n bytes, or reports that there are not as many left. It does not give way
// to those who wait.
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

// Give returns n bytes that Take has given.
func (b *Budget) Give(n int) {
	b.used.Add(-int64(n))
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.grant()
	}
}

// waitable is what those who wait may have together. They leave a part of 32 to those who
// can't: answers to fetches, and messages of lines.
func (b *Budget) waitable() int64 { return b.max - b.max/32 }

// Fits says, with ErrNeverFits, that a whole request of n bytes will never have its memory.
func (b *Budget) Fits(n int) error {
	if int64(n) > b.waitable()/2 {
		return ErrNeverFits
	}
	return nil
}

// Wait gives the caller want in place of what it has, when it is there and all who came
// before for the like have theirs. The error is ErrGivenUp when quit is closed: then the
// caller has what it had. Whoever has a part, and no others, may wait for more. short is
// called before it waits.
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
	b.grant() // what has been given back meanwhile
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

// exchange is what a claim waits for. The caller holds mu.
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

// grant serves the heads of the queues as long as there is enough. The caller holds mu.
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

// Return gives back what Wait has given.
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

// IsShort says whether more than half of it is used.
func (b *Budget) IsShort() bool { return b.used.Load() > b.max/2 }

// Waiting is how many callers of Wait wait.
func (b *Budget) Waiting() int { return int(b.waiting.Load()) }
