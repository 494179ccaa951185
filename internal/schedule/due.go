package schedule

import "cmp"

// A due message waits in the log at offset until at, in milliseconds since 1970.
type due struct{ at, offset int64 }

// Dues are a heap: the next message first.
type dues []due

func (d due) compare(x due) int {
	return cmp.Or(cmp.Compare(d.at, x.at), cmp.Compare(d.offset, x.offset))
}

func (d *dues) push(x due) {
	*d = append(*d, x)
	h := *d
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].compare(h[i]) <= 0 {
			return
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (d *dues) pop() due {
	h := *d
	first, last := h[0], len(h)-1
	h[0] = h[last]
	*d = h[:last]
	d.sink(0)
	return first
}

// sink puts the element at i below those that come before it.
func (d dues) sink(i int) {
	for {
		next := 2*i + 1
		if next >= len(d) {
			return
		}
		if right := next + 1; right < len(d) && d[right].compare(d[next]) < 0 {
			next = right
		}
		if d[i].compare(d[next]) <= 0 {
			return
		}
		d[i], d[next] = d[next], d[i]
		i = next
	}
}

// init makes a heap of any order.
func (d dues) init() {
	for i := len(d)/2 - 1; i >= 0; i-- {
		d.sink(i)
	}
}
