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

// A jump leads from a place where no valid batch begins to the next one that is valid.
type jump struct {
	from, to edge
	until    time.Time // not remembered longer, if set: what can't be read may be read again
	judged   bool      // what looks like a valid batch at from is none
}

// jumps are the ways past damage that were found in a segment. They are looked at again
// before they are gone: what they begin with is damaged still, and what they lead to valid.
type jumps struct {
	judged atomic.Int64 // how many are

	mu   sync.Mutex // guards what follows
	list []jump     // ascending
}

const maxJumps = 4096

// from is where the jump from d leads to.
func (j *jumps) from(d position) (to position, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := sort.Search(len(j.list), func(i int) bool { return j.list[i].from.pos >= d.pos })
	if i == len(j.list) || j.list[i].from != d.edge() || !j.list[i].until.IsZero() && time.Now().After(j.list[i].until) {
		return to, false
	}
	return position{pos: j.list[i].to.pos, next: j.list[i].to.next}, true
}

// add remembers jumps, in place of those in the same part of the segment.
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

// stop is the first place at or behind pos where what looks like a valid batch is none.
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

// errWithin is what is wrong with the batch at such a place.
var errWithin = fmt.Errorf("%w: what looks like a batch lies within another one", errDamaged)
