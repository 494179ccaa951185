package commitlog

import (
	"sync"
	"sync/atomic"
)

// damages count the places where messages are damaged or lost. A place that is read again and again
// counts once.
type damages struct {
	count *atomic.Int64

	mu    sync.Mutex // guards what follows
	known map[place]struct{}
}

// A place is a position in a file of a partition; the file of one that is missing may be "".
type place struct {
	dir, file string
	pos       int64
}

// maxPlaces bounds the places that are remembered. More are not counted.
const maxPlaces = 10_000

func (d *damages) found(at place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.known[at]; known || len(d.known) >= maxPlaces {
		return
	}
	if d.known == nil {
		d.known = make(map[place]struct{})
	}
	d.known[at] = struct{}{}
	d.count.Add(1)
}

// damaged counts a place where messages of the log are damaged or lost.
func (l *partition) damaged(file string, pos int64) {
	if l.damages != nil { // not when a directory is verified
		l.damages.found(place{l.dir, file, pos})
	}
}
