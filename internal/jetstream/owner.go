package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// An owner is what the partitions of a Store share.
type owner struct {
	wire  wire
	term  uint32 // epoch of the ownership
	sizes sizes
	log   *slog.Logger
	now   atomic.Pointer[func() time.Time]
	stats *store.Stats

	room    *budget // of the bytes that are on their way
	written *cache  // messages that were written lately
	fetched *cache  // messages that were read from the engine
	held    *budget // of the bytes that chunks hold

	usual atomic.Int64 // time from sending a message to its answer, in nanoseconds, as a moving average

	ctx    context.Context // ends when the ownership is lost or given up
	cancel context.CancelFunc
	lost   chan struct{} // closed when the ownership is lost
	losing sync.Once
	reason atomic.Pointer[error] // why it was lost
}

// sizes are bounds in bytes.
type sizes struct {
	message   int   // of the batches of one message, unless one batch is larger
	section   int64 // of a section, unless one message is larger
	partition int   // of what is on its way to a partition
	node      int   // of what is on its way to all partitions
	written   int   // of the messages that were written lately and are kept
	fetched   int   // of the messages that were read from the engine and are kept
	held      int   // of the messages that chunks hold
}

var defaultSizes = sizes{
	message: 1 << 20, section: 64 << 20, partition: 16 << 20, node: 256 << 20, written: 64 << 20, fetched: 32 << 20, held: 64 << 20,
}

func newOwner(w wire, term uint32, s sizes, log *slog.Logger) *owner {
	o := &owner{
		wire: w, term: term, sizes: s, log: log, stats: store.NewStats(), lost: make(chan struct{}),
		room: newBudget(s.node), held: newBudget(s.held), written: newCache(s.written), fetched: newCache(s.fetched),
	}
	o.useClock(time.Now)
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

func (o *owner) useClock(now func() time.Time) { o.now.Store(&now) }

func (o *owner) time() time.Time { return (*o.now.Load())() }

// lose ends the ownership, because another node has taken it, or because it is not certain whether a
// message is stored. The Store ends the partitions then.
func (o *owner) lose(reason error) {
	o.losing.Do(func() {
		o.log.Warn("the ownership of the topics is lost: it is given up here, and taken again by the node that leads", "epoch", o.term, "reason", reason)
		o.reason.Store(&reason)
		close(o.lost)
		o.cancel()
	})
}

// moved is the error of all calls after the loss.
func (o *owner) moved() error {
	if r := o.reason.Load(); r != nil {
		return fmt.Errorf("%w: %w", store.ErrMoved, *r)
	}
	return store.ErrMoved
}

// patience is how long the answer to a message is waited for until it is asked for.
func (o *owner) patience() time.Duration {
	return min(max(patience, 4*time.Duration(o.usual.Load())), mostPatience)
}

const mostPatience = 5 * time.Second

// answered notes how long an answer took.
func (o *owner) answered(took time.Duration) {
	usual := o.usual.Load()
	o.usual.Store(usual + (int64(took)-usual)/8)
}

// A budget bounds bytes. What takes when there is some left may take more than that.
type budget struct {
	mu    sync.Mutex
	given sync.Cond
	used  int
	max   int
}

func newBudget(max int) *budget {
	b := &budget{max: max}
	b.given.L = &b.mu
	return b
}

// take waits until some is left.
func (b *budget) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used >= b.max {
		b.given.Wait()
	}
	b.used += n
}

// try takes if some is left.
func (b *budget) try(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used >= b.max {
		return false
	}
	b.used += n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.given.Broadcast()
}
