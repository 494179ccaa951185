package jetstream

import (
	"slices"
	"sort"
	"sync"
)

// points are places of messages of a log, so that a search begins near its end. There are most of them
// at the log's end, where most is read.
type points struct {
	mu   sync.Mutex // guards list
	list []point    // ascending
}

// A point is the place of a message with batches.
type point struct {
	base, pos int64
	seq       uint64
}

// maxPoints bounds the points of a log: 24 bytes each. With more every second one of the older half goes.
const maxPoints = 2048

// add adds the point of a message.
func (l *points) add(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.list), func(i int) bool { return l.list[i].base >= m.base })
	if i < len(l.list) && l.list[i].base == m.base {
		return
	}
	l.list = slices.Insert(l.list, i, point{m.base, m.pos, m.seq})
	if len(l.list) <= maxPoints {
		return
	}
	n := 0
	for i, p := range l.list {
		if i >= maxPoints/2 || i%2 == 0 {
			l.list[n] = p
			n++
		}
	}
	l.list = l.list[:n]
}

// around gives the last point that is not behind what is searched, and the first one that is. ok says
// which of them there are.
func (l *points) around(behind func(point) bool) (at, next point, okAt, okNext bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.list), func(i int) bool { return behind(l.list[i]) })
	if i > 0 {
		at, okAt = l.list[i-1], true
	}
	if i < len(l.list) {
		next, okNext = l.list[i], true
	}
	return at, next, okAt, okNext
}

// drop removes the points of messages below a sequence.
func (l *points) drop(below uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.list), func(i int) bool { return l.list[i].seq >= below })
	l.list = slices.Delete(l.list, 0, i)
}
