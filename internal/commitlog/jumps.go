package commitlog

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// A jump leads from a position without a valid batch to the next valid one.
type jump struct {
	from, to edge
	until    time.Time // kept until then, if set: unreadable bytes may be readable later
	judged   bool      // the batch at from looks valid, and is not
}

// jumps are the results of salvage in a segment. Readers check them again before they use them: the
// batch at the beginning is still damaged, and the one at the end valid.
type jumps struct {
	judged atomic.Int64 // number of judged jumps

	mu   sync.Mutex // guards what follows
	list []jump     // ascending
}

const maxJumps = 4096

// from returns the end of the jump from d.
func (j *jumps) from(d position) (to position, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := sort.Search(len(j.list), func(i int) bool { return j.list[i].from.pos >= d.pos })
	if i == len(j.list) || j.list[i].from != d.edge() || !j.list[i].until.IsZero() && time.Now().After(j.list[i].until) {
		return to, false
	}
	return position{pos: j.list[i].to.pos, next: j.list[i].to.next}, true
}

// add adds jumps, in place of those in the same part of the segment.
func (j *jumps) add(list []jump) {
	j.mu.Lock()
	defer j.mu.Unlock()
	first, last := list[0].from.pos, list[len(list)-1].from.pos
	j.list = slices.DeleteFunc(j.list, func(o jump) bool { return o.from.pos >= first && o.from.pos <= last })
	if len(j.list)+len(list) > maxJumps {
		j.list = j.list[:0]
	}
	j.list = append(j.list, list[:min(len(list), maxJumps)]...)
	slices.SortFunc(j.list, func(a, b jump) int { return cmp.Compare(a.from.pos, b.from.pos) })
	judged := int64(0)
	for _, o := range j.list {
		if o.judged {
			judged++
		}
	}
	j.judged.Store(judged)
}

// stop is the first position at or behind pos of a batch that looks valid and is not.
func (j *jumps) stop(pos int64) (at edge, ok bool) {
	if j.judged.Load() == 0 {
		return at, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range j.list {
		if o.judged && o.from.pos >= pos {
			return o.from, true
		}
	}
	return at, false
}

// errWithin is the damage of a batch at such a position.
var errWithin = fmt.Errorf("%w: what looks like a batch lies within another one", errDamaged)
