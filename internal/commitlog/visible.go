package commitlog

import (
	"errors"
	"slices"
	"sort"
	"sync"

	"mbus/internal/store"
)

// visible is the state of a log that readers see.
type visible struct {
	mu       sync.Mutex // guards what follows
	segments []*segment // ascending; the last is active
	start    int64      // log start offset
	high     position   // the end of the visible records, in the active segment; next is the high watermark
	ended    error      // store.ErrDeleted or store.ErrClosed; nil while the log is in use
	wakers   map[*waker]struct{}
}

type waker struct {
	offset int64
	f      func(store.Reason)
}

func (v *visible) active() *segment { return v.segments[len(v.segments)-1] }

func (v *visible) offsets() (start, high int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.start, v.high.next
}

// wake implements store.Partition.Wake.
func (v *visible) wake(offset int64, f func(store.Reason)) (cancel func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended != nil:
		go f(reasonOf(v.ended))
		return func() {}
	case v.high.next > offset:
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

// raise makes the records before end visible, and returns the functions to call.
func (v *visible) raise(end position) (wake []func(store.Reason)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.high = end
	for w := range v.wakers {
		if w.offset < end.next {
			wake = append(wake, w.f)
			delete(v.wakers, w)
		}
	}
	return wake
}

// close ends reading, and returns the functions to call.
func (v *visible) close(ended error) (wake []func(store.Reason)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = ended
	for w := range v.wakers {
		wake = append(wake, w.f)
	}
	v.wakers = nil
	return wake
}

// install is partition.install. The caller holds mu.
func (v *visible) install(s *segment, end position) {
	before := slices.DeleteFunc(slices.Clone(v.segments), func(o *segment) bool { return o.base == s.base })
	v.segments, v.high = append(before, s), end
}

// holding returns the segment that has offset, and how far it can be read. There is none at the high
// watermark, nor if segments are missing: then next is the offset of the first one.
func (v *visible) holding(offset int64) (s *segment, view view, next int64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended != nil:
		return nil, view, 0, v.ended
	case offset < v.start || offset > v.high.next:
		return nil, view, 0, store.ErrOutOfRange
	case offset == v.high.next:
		return nil, view, offset, nil
	}
	i := sort.Search(len(v.segments), func(i int) bool { return v.segments[i].base > offset }) - 1
	if i < 0 {
		return nil, view, v.segments[0].base, nil
	}
	return v.segments[i], v.view(i), 0, nil
}

// view is how far the i-th segment can be read now. The caller holds mu.
func (v *visible) view(i int) view {
	if i == len(v.segments)-1 {
		return view{active: true, end: v.high.pos, next: v.high.next}
	}
	return view{next: v.segments[i+1].base}
}

// activeView is how far the active segment can be read now.
func (v *visible) activeView() view {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.view(len(v.segments) - 1)
}

// removed returns the error that explains err if offset was removed meanwhile, or else err.
func (v *visible) removed(offset int64, err error) error {
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

func (v *visible) setStart(start int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.start = start
}

// below returns the segments below an offset.
func (v *visible) below(offset int64) []*segment {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.segments[:below(v.segments, offset)]
}

// drop removes the segments below an offset from the list. It returns them, and the base offset of the
// first other one.
func (v *visible) drop(offset int64) (gone []*segment, first int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := below(v.segments, offset)
	gone = v.segments[:n]
	v.segments = v.segments[n:len(v.segments):len(v.segments)]
	return gone, v.segments[0].base
}

// below counts the segments whose records all have lower offsets. It never counts the last one.
func below(segments []*segment, offset int64) int {
	return sort.Search(len(segments)-1, func(i int) bool { return segments[i+1].base > offset })
}
