package commitlog

import (
	"sync"
	"time"
)

// A verifiedRange is the part of a segment whose bytes this process has written, or
// has read and checked. Their headers are believed, and they can be sent to a client unread:
// should the disk have damaged them since, the batches' own CRCs tell the client.
type verifiedRange struct {
	mu       sync.Mutex // guards what follows
	from, to int64      // bytes
	until    time.Time  // nothing is sent unread before, if set
}

// add says that the bytes between two positions are valid, too. Of two ranges
// that do not touch, the larger one is remembered, or the later.
func (r *verifiedRange) add(from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case from <= r.to && to >= r.from && r.to > r.from:
		r.from, r.to = min(from, r.from), max(to, r.to)
	case to-from >= r.to-r.from:
		r.from, r.to = from, to
	}
}

// cut says that of the bytes between two positions some are not valid. What is left
// before or behind them is remembered, the larger part.
func (r *verifiedRange) cut(from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case to <= r.from || from >= r.to:
	case from-r.from >= r.to-to:
		r.to = max(from, r.from)
	default:
		r.from = min(to, r.to)
	}
}

// unsentFor is how long a segment is read before it is sent where sending it has failed.
const unsentFor = time.Minute

// refuse has the bytes between two positions, and for a while all others, read before they
// are sent.
func (r *verifiedRange) refuse(from, to int64) {
	r.cut(from, to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = time.Now().Add(unsentFor)
}

// holds says whether all n bytes at pos are valid, and can be sent unread.
func (r *verifiedRange) holds(pos int64, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return pos >= r.from && pos+int64(n) <= r.to && (r.until.IsZero() || time.Now().After(r.until))
}

// both are the range as it is now.
func (r *verifiedRange) both() (from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from, r.to
}
