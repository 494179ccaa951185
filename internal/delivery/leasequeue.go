package delivery

import (
	"slices"
	"sync"
)

// A leaseQueue is the requests that wait for messages of a holder, the one that has waited longest
// first.
type leaseQueue struct {
	mu      sync.Mutex // guards what follows; taken after all others
	waiting []*leaseRequest
}

// add has a request wait.
func (q *leaseQueue) add(r *leaseRequest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.waiting, r) {
		q.waiting = append(q.waiting, r)
	}
}

// wake wakes the request that has waited longest. It does not block.
func (q *leaseQueue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		q.waiting[0].wake()
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
}

// wakeAll wakes all requests. It does not block.
func (q *leaseQueue) wakeAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.waiting {
		r.wake()
	}
	q.waiting = nil
}

// remove ends the wait of a request.
func (q *leaseQueue) remove(r *leaseRequest) (left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, r); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return len(q.waiting)
}
