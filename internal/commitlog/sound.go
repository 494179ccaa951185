package commitlog

import "sync"

// A soundRange is the part of a segment whose bytes this process has written, or
// has read and checked. They can be sent to a client unread: should the disk have
// damaged them since, the batches' own CRCs tell the client.
type soundRange struct {
	mu       sync.Mutex // guards what follows
	from, to int64      // bytes
}

// add says that the bytes between two positions are sound, too. Of two ranges
// that do not touch, the larger one is remembered, or the later.
func (r *soundRange) add(from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case from <= r.to && to >= r.from && r.to > r.from:
		r.from, r.to = min(from, r.from), max(to, r.to)
	case to-from >= r.to-r.from:
		r.from, r.to = from, to
	}
}

// holds says whether all n bytes at pos are sound.
func (r *soundRange) holds(pos int64, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return pos >= r.from && pos+int64(n) <= r.to
}

// clear says that nothing of it is known to be sound any more.
func (r *soundRange) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.to = 0, 0
}
