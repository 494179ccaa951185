package broker

import (
	"cmp"
	"container/heap"
	"math"
	"sync"
	"time"
)

// HeaderDeliverAt is the header that has a message wait: the time at which it is put
// into its topic, in milliseconds since 1970 or as RFC 3339 has it. The last one counts.
// ParseDeliverAt says which values are refused.
const HeaderDeliverAt = "mbus-deliver-at"

// DelayedTopic is the internal topic that keeps the messages that are not due
// yet. Its records are a waiting message (the key says when it is due and where
// it goes, the value is a batch with the message), or a list of those that have
// been put into their topics: no key, and the offsets as the value, 8 bytes each.
const DelayedTopic = "__delayed"

// Limits of the delivery of messages that are due.
const (
	// portionMessages and portionBytes bound what is appended to a partition at once.
	// Two portions of a partition at most are on their way, or not noted to be
	// delivered: after a crash these come once more.
	portionMessages = 2000
	portionBytes    = 1 << 20

	// crowdMessages and crowdBytes bound what is read at once for a partition to which
	// more is due: much, because messages that are due one after the other may be far
	// apart in the log, and a batch is read once for all that are taken of it. So much
	// is read for as many partitions as crowds says; the others read a portion.
	crowdMessages = 64 << 10
	crowdBytes    = 8 << 20
	crowds        = 4

	// queuesAtOnce bounds the partitions that are delivered to at the same time, as
	// many as are synced at the same time. The others take turns.
	queuesAtOnce = 64
)

// damageFactor says up to which size of its log, in Limits.CompactDelayed, damage is kept:
// it may be readable on another disk or machine. Then the log is trimmed past it.
const damageFactor = 16

// Times of the delivery.
const (
	// deliverAgain is the time after which a message is tried again that could not be
	// put into its topic. It doubles each time, up to deliverAgainBound.
	deliverAgain      = time.Second
	deliverAgainBound = 8 * time.Second

	// missingAgain is the time after which a topic is looked for again that is missing.
	missingAgain = time.Minute
)

// Delays are the messages that are not due yet. In memory each is 16 bytes.
type delays struct {
	wake       chan struct{} // something has changed
	loaded     chan struct{} // closed when the log has been read after a start
	crowds     chan struct{} // holds an element for each crowd that is being delivered
	keepDamage int64         // bytes of the log up to which it is not trimmed past damage

	keepDelivered int64 // bytes of the log up to which what was delivered is kept for a while

	mu      sync.Mutex // guards what follows
	log     *Partition
	queues  map[target]*queue
	idle    queueHeap // those that have messages and are not being delivered
	left    int       // messages that are in the log and neither delivered nor dropped
	pending map[*halves]int64
	unnoted []int64 // offsets that have been delivered or cancelled, and must be noted

	// Of the log, since it was trimmed: what has been appended, about, how many
	// waiting messages that were, and how much was left when it was last compacted.
	bytes     int64
	messages  int
	floor     int64
	delivered deliveredUpTo // what it may be trimmed to later

	mover    *mover                // the compaction that runs; nil for none
	noted    []int64               // offsets noted since it has begun that it has not moved yet
	moved    map[int64]int64       // of what was being delivered when it ended: the new offsets
	damage   offsetRange           // what could not be read; empty for nothing
	reported map[string]bool       // of that
	streams  map[[16]byte]*streams // that messages in the log belong to, by topic
	unread   bool                  // the log holds what has not been looked at
	failing  bool                  // a note could not be written, which has been reported
}

// init makes delays ready for use; log is nil if there is none yet.
func (d *delays) init(log *Partition, limits Limits) {
	d.wake, d.crowds, d.loaded = make(chan struct{}, 1), make(chan struct{}, crowds), make(chan struct{})
	d.keepDamage, d.keepDelivered = damageFactor*limits.CompactDelayed, limits.CompactDelayed
	d.log = log
	d.queues, d.pending = make(map[target]*queue), make(map[*halves]int64)
	d.moved, d.reported = make(map[int64]int64), make(map[string]bool)
}

// used says whether messages have ever waited.
func (d *delays) used() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log != nil
}

// streamsOf takes what the log said after the start of a topic's streams; nil for nothing.
// It waits until the log has been read, or stop is closed.
func (d *delays) streamsOf(topic [16]byte, stop <-chan struct{}) *streams {
	select {
	case <-d.loaded:
	case <-stop:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.streams[topic]
	delete(d.streams, topic)
	return s
}

// An offsetRange is the offsets from first up to but not including next.
type offsetRange struct{ first, next int64 }

// A target is a partition of one incarnation of a topic.
type target struct {
	topic     [16]byte
	partition uint32
}

// A queue is the messages that wait for one partition. Each is delivered to by itself, so
// that one that is stuck, or gets very many, holds up no other. It is guarded by the
// mutex of delays.
type queue struct {
	target
	name      string // of the topic
	waiting   dues
	notBefore int64         // milliseconds since 1970: its turn, or when it is tried again
	backoff   time.Duration // after the last failure; 0 for none
	place     int           // in delays.idle, -1 if it is not there
	busy      bool          // it is being delivered
	lowest    int64         // offset that is on its way; math.MaxInt64 for none
	fits      int           // messages that were not too much to read at once; 0 for unknown
	warned    bool          // that the topic, or the partition, is missing
	atOnce    bool          // its topic has been deleted, or is missing
}

// next is when the queue wants to be delivered, in milliseconds since 1970.
func (q *queue) next() int64 {
	if q.atOnce {
		return math.MinInt64
	}
	return max(q.waiting[0].at, q.notBefore)
}

// Of returns the queue of a target, a new one if there is none. The caller holds mu.
func (d *delays) of(t target, name string) *queue {
	q := d.queues[t]
	if q == nil {
		q = &queue{target: t, name: name, place: -1, lowest: math.MaxInt64}
		d.queues[t] = q
	}
	return q
}

// settle puts a queue that has changed in its place. The caller holds mu.
func (d *delays) settle(q *queue) {
	switch {
	case q.busy:
		return
	case len(q.waiting) == 0:
		if q.place >= 0 {
			heap.Remove(&d.idle, q.place)
		}
		delete(d.queues, q.target)
	case q.place < 0:
		heap.Push(&d.idle, q)
	default:
		heap.Fix(&d.idle, q.place)
	}
	d.poke()
}

// poke has the delivery look again.
func (d *delays) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// kept counts messages that have become durable in the log, so many and of so many bytes.
func (d *delays) kept(messages int, bytes int64) {
	d.bytes += bytes
	d.messages += messages
	d.left += messages
}

// admit has messages wait that have been counted: they are at the offsets from first on.
func (d *delays) admit(t target, name string, ats []int64, first int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.of(t, name)
	for i, at := range ats {
		q.waiting.push(due{at, first + int64(i)})
	}
	d.settle(q)
}

// cancel has n messages that have been counted, from offset first on, not be delivered.
func (d *delays) cancel(first int64, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left -= n
	for i := range int64(n) {
		d.unnoted = append(d.unnoted, first+i)
	}
	d.poke()
}

// ready takes the queue whose turn it is, nil for none. Then it returns the time until
// the next one is due.
func (d *delays) ready(now time.Time) (*queue, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle) == 0 {
		return nil, time.Hour
	}
	at := d.idle[0].next()
	if at > now.UnixMilli() {
		return nil, max(0, min(lookEvery, time.UnixMilli(at).Sub(now)))
	}
	q := heap.Pop(&d.idle).(*queue)
	q.busy, q.atOnce = true, false
	return q, 0
}

// crowded says whether a queue may have more than a portion to deliver.
func (d *delays) crowded(q *queue) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(q.waiting) > portionMessages
}

// take takes up to n messages of a queue that are due, in due order.
func (d *delays) take(q *queue, now time.Time, n int) (window []due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ms := now.UnixMilli()
	for len(q.waiting) > 0 && q.waiting[0].at <= ms && len(window) < n {
		m := q.waiting.pop()
		window = append(window, m)
		q.lowest = min(q.lowest, m.offset)
	}
	return window
}

// giveBack has messages wait again.
func (d *delays) giveBack(q *queue, messages []due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range messages {
		if to, ok := d.moved[m.offset]; ok {
			delete(d.moved, m.offset)
			m.offset = to
		}
		q.waiting.push(m)
	}
}

// end says that a queue is not being delivered any more, and when its next turn is.
func (d *delays) end(q *queue, notBefore time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q.busy, q.lowest, q.notBefore = false, math.MaxInt64, notBefore.UnixMilli()
	d.settle(q)
}

// A due message waits in the log at offset until at, in milliseconds since 1970.
type due struct{ at, offset int64 }

// Dues are a heap: the next one first.
type dues []due

func (d due) compare(x due) int {
	return cmp.Or(cmp.Compare(d.at, x.at), cmp.Compare(d.offset, x.offset))
}

func (d *dues) push(x due) {
	*d = append(*d, x)
	h := *d
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].compare(h[i]) <= 0 {
			return
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (d *dues) pop() due {
	h := *d
	first, last := h[0], len(h)-1
	h[0] = h[last]
	*d = h[:last]
	d.sink(0)
	return first
}

// sink puts the element at i below those that come before it.
func (d dues) sink(i int) {
	for {
		next := 2*i + 1
		if next >= len(d) {
			return
		}
		if right := next + 1; right < len(d) && d[right].compare(d[next]) < 0 {
			next = right
		}
		if d[i].compare(d[next]) <= 0 {
			return
		}
		d[i], d[next] = d[next], d[i]
		i = next
	}
}

// init makes a heap of any order.
func (d dues) init() {
	for i := len(d)/2 - 1; i >= 0; i-- {
		d.sink(i)
	}
}

// A queueHeap holds queues that have messages, the next one first.
type queueHeap []*queue

func (h queueHeap) Len() int           { return len(h) }
func (h queueHeap) Less(i, j int) bool { return h[i].next() < h[j].next() }
func (h queueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *queueHeap) Push(x any) {
	q := x.(*queue)
	q.place = len(*h)
	*h = append(*h, q)
}

func (h *queueHeap) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	q.place = -1
	return q
}
