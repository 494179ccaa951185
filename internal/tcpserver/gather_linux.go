package tcpserver

import (
	"bytes"
	"sync"
)

// Sizes of what is written at a time. What the socket does not take of it is kept, so that a write that timed out can
// go on.
const (
	recordSize = 16 << 10    // the most bytes that a record has
	gathered   = largeOutput // the most bytes of which records are made for one write: what an Output has

	// gathering is the most that those records have, unless they are short ones.
	gathering = gathered + (gathered/recordSize+1)*256

	// maxKept bounds what is kept: what was to be written, and records that nobody waits for, such as answers to a peer
	// that changes its keys again and again and reads nothing.
	maxKept = gathering + 48<<10
)

// gatherings are buffers for as long as a write goes on: a connection that waits for its peer has none.
var gatherings = sync.Pool{New: func() any { return newBuffer(gathering) }}

// gather has records collected until endGather. It reports false where another write does that.
func (r *records) gather() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gathers || len(r.kept) > 0 {
		return false
	}
	r.gathers = true
	r.pooled = gatherings.Get().(*[]byte)
	r.kept = *r.pooled
	return true
}

func (r *records) endGather() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gathers = false; len(r.kept) == 0 { // nothing was written, or another's flush has sent it
		r.drop()
	}
}

// drop forgets what is kept. The caller holds mu.
func (r *records) drop() {
	if r.kept = nil; r.pooled != nil {
		gatherings.Put(r.pooled)
		r.pooled = nil
	}
}

// shrink has what is kept take no more memory than it needs, for a peer that takes its time.
func (r *records) shrink() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pooled != nil && !r.gathers {
		kept := bytes.Clone(r.kept)
		r.drop()
		r.kept = kept
	}
}
