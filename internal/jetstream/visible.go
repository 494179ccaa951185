package jetstream

import (
	"errors"
	"sync"

	"mbus/internal/store"
)

// visible is the state of a log that readers see.
type visible struct {
	mu      sync.Mutex // guards what follows
	start   int64      // log start offset
	removed int64      // position of the message that holds it
	high    int64      // high watermark
	pos     int64      // position behind the last record
	last    uint64     // sequence of the last message
	opening bool       // the log can't be used yet
	ended   error      // store.ErrDeleted, store.ErrClosed or store.ErrMoved; nil while the log is in use
	wakers  map[*waker]struct{}
}

type waker struct {
	offset int64
	f      func(store.Reason)
}

// A view is what is visible at one time.
type view struct {
	start, removed, high, pos int64
	last                      uint64
}

// view fails if the log can't be used.
func (v *visible) view() (view, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended == nil && v.opening {
		return view{}, store.ErrUnavailable
	}
	return view{v.start, v.removed, v.high, v.pos, v.last}, v.ended
}

// open makes the log usable, with the records before the tail. It returns the functions to call.
func (v *visible) open(t *tail) (wake []func(store.Reason)) {
	v.mu.Lock()
	v.opening, v.start, v.removed = false, t.start, t.removed
	v.mu.Unlock()
	return v.raise(t)
}

// raise makes the records before the tail visible, and returns the functions to call.
func (v *visible) raise(t *tail) (wake []func(store.Reason)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.high, v.pos, v.last = t.next, t.pos, t.seq
	for w := range v.wakers {
		if w.offset < v.high {
			wake = append(wake, w.f)
			delete(v.wakers, w)
		}
	}
	return wake
}

func (v *visible) setStart(start, removed int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.start, v.removed = start, removed
}

// end ends reading, and returns the functions to call.
func (v *visible) end(ended error) (wake []func(store.Reason)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended != nil {
		return nil
	}
	v.ended = ended
	for w := range v.wakers {
		wake = append(wake, w.f)
	}
	v.wakers = nil
	return wake
}

// explain gives the error that explains err if the offset was removed meanwhile, or the log has ended;
// or else err.
func (v *visible) explain(offset int64, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended != nil:
		return v.ended
	case offset < v.start:
		return store.ErrOutOfRange
	}
	return err
}

// wake implements store.Partition.Wake.
func (v *visible) wake(offset int64, f func(store.Reason)) (cancel func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended != nil:
		go f(reasonOf(v.ended))
		return func() {}
	case v.high > offset:
		go f(store.More)
		return func() {}
	}
	if v.wakers == nil {
		v.wakers = make(map[*waker]struct{})
	}
	w := &waker{offset, f}
	v.wakers[w] = struct{}{}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.wakers, w)
	}
}

// reasonOf is why Wake calls when a log has ended.
func reasonOf(ended error) store.Reason {
	if errors.Is(ended, store.ErrDeleted) {
		return store.Deleted
	}
	return store.Closed
}
