package delivery

import (
	"cmp"
	"container/list"
	"slices"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// A leftover is a part of a larger batch, as a batch of its own that is not compressed. It must
// not be changed.
type leftover struct {
	batch.Batch
	log   offsets
	whole group.Span // of the larger batch
	used  time.Time
}

// Offsets are a partition's, by which leftovers are kept.
type offsets interface{ Offsets() (start, high int64) }

// Leftovers are the rests of large batches of which consumers take a few messages at a time.
// Without them each message would cost as much as to read, check and expand the whole
// batch. All sessions share them. Methods may be called by any goroutine.
type leftovers struct {
	budget *broker.Budget

	mu    sync.Mutex // guards what follows
	of    map[offsets][]*list.Element
	all   list.List // of *leftover, the least recently used first
	bytes int
	timer *time.Timer // nil while there are none
}

const (
	// maxLeftovers is what all of them may take in memory, in bytes.
	maxLeftovers = 32 << 20

	// leftoverTime is how long one is kept that nobody uses.
	leftoverTime = 10 * time.Second

	// leftoverSize is about the size of one in bytes: all of it is passed over for its
	// last message. One with a large message is larger.
	leftoverSize = 64 << 10

	// What is kept of a batch at once, if it has as much: keepBytes, and what keepRecords
	// records take, up to keepMost bytes.
	keepBytes   = 1 << 20
	keepRecords = 64
	keepMost    = 4 << 20
)

func newLeftovers(budget *broker.Budget) *leftovers {
	return &leftovers{budget: budget, of: make(map[offsets][]*list.Element)}
}

// find is the one with the message at an offset of a log, or nil. A consumer that
// wants all of the batch, up to the offset end or beyond, gets it as it is stored.
func (l *leftovers) find(log offsets, offset, end int64) batch.Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.behind(log, offset) - 1
	if i < 0 {
		return nil
	}
	e := l.of[log][i]
	x := e.Value.(*leftover)
	if x.NextOffset() <= offset || offset <= x.whole.From && end >= x.whole.To {
		return nil
	}
	if start, _ := log.Offsets(); offset < start { // deleted meanwhile
		return nil
	}
	x.used = time.Now()
	l.all.MoveToBack(e)
	return x.Batch
}

// behind is the index of the first of a log that begins behind an offset. The caller
// holds mu, as for all that follows.
func (l *leftovers) behind(log offsets, offset int64) int {
	i, _ := slices.BinarySearchFunc(l.of[log], offset+1, func(e *list.Element, o int64) int {
		return cmp.Compare(e.Value.(*leftover).BaseOffset(), o)
	})
	return i
}

// add keeps a leftover, if there is memory for it.
func (l *leftovers) add(log offsets, whole, b batch.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(b) > maxLeftovers || l.has(log, b.BaseOffset()) || l.budget.Waiting() > 0 {
		return
	}
	for l.bytes+len(b) > maxLeftovers {
		l.remove(l.all.Front())
	}
	if !l.budget.Take(len(b)) {
		return
	}
	l.bytes += len(b)
	i := l.behind(log, b.BaseOffset())
	span := group.Span{From: whole.BaseOffset(), To: whole.NextOffset()}
	e := l.all.PushBack(&leftover{b, log, span, time.Now()})
	l.of[log] = slices.Insert(l.of[log], i, e)
	if l.timer == nil {
		l.timer = time.AfterFunc(leftoverTime, l.sweep)
	}
}

// has reports whether there is one of a log that begins at an offset.
func (l *leftovers) has(log offsets, offset int64) bool {
	i := l.behind(log, offset) - 1
	return i >= 0 && l.of[log][i].Value.(*leftover).BaseOffset() == offset
}

func (l *leftovers) remove(e *list.Element) {
	x := l.all.Remove(e).(*leftover)
	l.bytes -= len(x.Batch)
	l.budget.Give(len(x.Batch))
	left := l.of[x.log]
	i := slices.Index(left, e)
	if left = slices.Delete(left, i, i+1); len(left) == 0 {
		delete(l.of, x.log)
	} else {
		l.of[x.log] = left
	}
}

// sweep removes those that nobody uses any more, or all if others wait for memory.
func (l *leftovers) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.all.Front(); e != nil; e = l.all.Front() {
		if l.budget.Waiting() == 0 && time.Since(e.Value.(*leftover).used) < leftoverTime {
			l.timer.Reset(leftoverTime / 4)
			return
		}
		l.remove(e)
	}
	l.timer = nil
}

// split keeps the messages from an offset on of a batch as leftovers, and returns the first of
// them; nil if there is none. it stands at the beginning of the batch.
func (l *leftovers) split(log offsets, it *batch.Iterator, b batch.Batch, offset int64) (first batch.Batch) {
	var piece batch.Builder
	end, records, bytes := b.NextOffset(), 0, 0
	for at := offset; at < end && bytes < keepMost && (bytes < keepBytes || records < keepRecords); {
		piece.Reset()
		var err error
		at, err = batch.SliceSome(&piece, it, b, at, end, leftoverSize, nil)
		if err != nil || len(piece.Bytes()) == 0 {
			break
		}
		next := batch.Batch(slices.Clone(piece.Bytes()))
		records, bytes = records+next.Count(), bytes+len(next)
		l.add(log, b, next)
		if first == nil {
			first = next
		}
	}
	return first
}
