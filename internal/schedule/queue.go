package schedule

import (
	"container/heap"
	"math"
	"time"
)

// A queue is the messages that wait for one partition. Each is delivered to by itself, so
// that one that can't be appended to, or gets very many, holds up no other. It is guarded by
// the mutex of the schedule.
type queue struct {
	Target
	name      string // of the topic
	waiting   dues
	notBefore int64         // milliseconds since 1970: its turn, or when it is tried again
	backoff   time.Duration // after the last failure; 0 for none
	index     int           // in queues.idle, -1 if it is not there
	busy      bool          // it is being delivered
	lowest    int64         // offset that is being delivered; math.MaxInt64 for none
	fits      int           // messages that were not too much to read at once; 0 for unknown
	warned    bool          // that the topic, or the partition, is missing
	atOnce    bool          // its topic has been deleted, or is missing
}

// next is when the queue is to be delivered, in milliseconds since 1970.
func (q *queue) next() int64 {
	if q.atOnce {
		return math.MinInt64
	}
	return max(q.waiting[0].at, q.notBefore)
}

// Queues are those that have messages, or are being delivered.
type queues struct {
	byTarget map[Target]*queue
	idle     queueHeap // those that have messages and are not being delivered
}

// of returns the queue of a target, a new one if there is none.
func (s *queues) of(t Target, name string) *queue {
	q := s.byTarget[t]
	if q == nil {
		q = &queue{Target: t, name: name, index: -1, lowest: math.MaxInt64}
		s.byTarget[t] = q
	}
	return q
}

// update moves a queue that has changed to where it belongs.
func (s *queues) update(q *queue) {
	switch {
	case q.busy:
	case len(q.waiting) == 0:
		if q.index >= 0 {
			heap.Remove(&s.idle, q.index)
		}
		delete(s.byTarget, q.Target)
	case q.index < 0:
		heap.Push(&s.idle, q)
	default:
		heap.Fix(&s.idle, q.index)
	}
}

// A queueHeap holds queues that have messages, the next one first.
type queueHeap []*queue

func (h queueHeap) Len() int           { return len(h) }
func (h queueHeap) Less(i, j int) bool { return h[i].next() < h[j].next() }
func (h queueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *queueHeap) Push(x any) {
	q := x.(*queue)
	q.index = len(*h)
	*h = append(*h, q)
}

func (h *queueHeap) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	q.index = -1
	return q
}
