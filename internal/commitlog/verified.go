package commitlog

import (
	"sync"
	"time"
)

// A verifiedRange is the part of a segment that this process has written, or read and checked. Its
// headers are used unchecked, and its bytes can be sent without reading them: if the disk damages them
// later, the client finds that by the CRC of the batch.
type verifiedRange struct {
	mu       sync.Mutex // guards what follows
	from, to int64      // bytes
	until    time.Time  // nothing is sent unread before, if set
}

// add adds the bytes between two positions. Of two ranges that do not touch, the larger or else the
// later one is kept.
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

// cut takes out the bytes between two positions, and keeps the larger part of the rest.
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

// unsentFor is the time for which a segment is read instead of sent after sending it has failed.
const unsentFor = time.Minute

// refuse takes out the bytes between two positions, and for unsentFor all others.
func (r *verifiedRange) refuse(from, to int64) {
	r.cut(from, to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = time.Now().Add(unsentFor)
}

// holds says whether all n bytes at pos are verified, and can be sent without reading them.
func (r *verifiedRange) holds(pos int64, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return pos >= r.from && pos+int64(n) <= r.to && (r.until.IsZero() || time.Now().After(r.until))
}

// both returns the range.
func (r *verifiedRange) both() (from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from, r.to
}
