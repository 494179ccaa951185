package group

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// A Retry says what becomes of a message that has failed.
type Retry struct {
	Backoff  time.Duration // until it is delivered again; doubles each time
	Bound    time.Duration // of the doubling
	Attempts int           // with this many it is dead; 0 for no end
}

// after is the time to wait after so many attempts.
func (r Retry) after(attempts int) time.Duration {
	d := r.Backoff
	for ; attempts > 1 && d < r.Bound; attempts-- {
		d *= 2
	}
	return max(0, min(d, r.Bound))
}

// retries are the failed messages that wait, the next one first.
type retries []waiting

type waiting struct {
	due    time.Time
	offset int64
}

func (r retries) Len() int { return len(r) }
func (r retries) Less(i, j int) bool {
	return cmp.Or(r[i].due.Compare(r[j].due), cmp.Compare(r[i].offset, r[j].offset)) < 0
}
func (r retries) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(x any)   { *r = append(*r, x.(waiting)) }
func (r *retries) Pop() any {
	last := len(*r) - 1
	w := (*r)[last]
	*r = (*r)[:last]
	return w
}

// What a position knows of messages that have failed, or wait behind one that is
// unacknowledged.
type failing struct {
	retries  retries       // that wait for their time
	attempts map[int64]int // of messages that have failed and are not acknowledged
	listed   []Failure     // what failures has made of attempts; nil when they have changed
	parked   int           // offsets held by failed and queued
	failed   Member        // holds messages that have failed, until they may be delivered again
	queued   Member        // holds messages behind one with the same key
}

// fail notes that the record at s.From, which m holds, has failed: it waits, or, with the
// last attempt, it is dead and waits for Bury or Unbury. The rest of s is a hole, and is
// consumed. fail returns the number of attempts, or 0 if m does not hold the record.
func (p *Position) fail(m *Member, s Span, r Retry, now time.Time) (attempts int, dead bool) {
	offset := s.From
	p.mu.Lock()
	if !p.holder(m, offset) {
		p.mu.Unlock()
		return 0, false
	}
	attempts = p.attempts[offset] + 1
	p.countFailure(offset, attempts)
	p.replace(Span{offset, offset + 1}, m, &p.failed, true)
	if hole := (Span{offset + 1, s.To}); hole.Len() > 0 && p.replace(hole, m, nil, true) {
		p.advance(hole)
	}
	p.parked++
	p.keep()
	p.mark()
	dead = r.Attempts > 0 && attempts >= r.Attempts
	if !dead {
		heap.Push(&p.retries, waiting{now.Add(r.after(attempts)), offset})
	}
	p.finish(true) // not free, but there is a time to wait for
	return attempts, dead
}

func (p *Position) countFailure(offset int64, attempts int) {
	p.listed = nil
	if p.attempts == nil {
		p.attempts = make(map[int64]int)
	}
	p.attempts[offset] = attempts
}

// Bury says that a dead message is kept elsewhere: it counts as consumed.
func (p *Position) Bury(offset int64) {
	s := Span{offset, offset + 1}
	p.mu.Lock()
	if !p.replace(s, &p.failed, nil, true) {
		p.mu.Unlock()
		return
	}
	full := p.parked == maxParked // so nothing above was free
	p.parked--
	p.consumed(s)
	p.finish(p.unlockKeys(s) || full)
}

// Unbury says that a dead message could not be kept elsewhere: it is delivered
// again at the time due.
func (p *Position) Unbury(offset int64, due time.Time) {
	p.mu.Lock()
	if p.holder(&p.failed, offset) {
		heap.Push(&p.retries, waiting{due, offset})
	}
	p.finish(true)
}

// retry frees the failed messages that have waited long enough. The caller
// holds mu.
func (p *Position) retry(now time.Time) {
	for len(p.retries) > 0 && !p.retries[0].due.After(now) {
		w := heap.Pop(&p.retries).(waiting)
		if p.replace(Span{w.offset, w.offset + 1}, &p.failed, nil, false) {
			p.parked--
		}
	}
}

// anyFailed says whether a failed message waits. The caller holds mu.
func (p *Position) anyFailed() bool {
	return slices.ContainsFunc(p.held, func(h held) bool { return h.by == &p.failed })
}

// lastParked is the highest offset that waits.
func (p *Position) lastParked() int64 {
	for _, h := range slices.Backward(p.held) {
		if h.by == &p.failed || h.by == &p.queued {
			return h.To - 1
		}
	}
	return p.committed
}

// forgetFailures drops the attempts of messages that have been acknowledged.
func (p *Position) forgetFailures(s Span) {
	before := len(p.attempts)
	if int64(before) < s.Len() {
		for o := range p.attempts {
			if s.From <= o && o < s.To {
				delete(p.attempts, o)
			}
		}
	} else {
		for o := s.From; o < s.To && len(p.attempts) > 0; o++ {
			delete(p.attempts, o)
		}
	}
	if len(p.attempts) < before {
		p.listed = nil
	}
}

// FailuresIn lists the messages of a span that have failed before, ascending. Of what
// a member holds only that member can change it.
func (p *Position) FailuresIn(s Span) (all []Failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(len(p.attempts)) < s.Len() {
		for o, n := range p.attempts {
			if s.From <= o && o < s.To {
				all = append(all, Failure{o, n})
			}
		}
		sortFailures(all)
		return all
	}
	for o := s.From; o < s.To && len(p.attempts) > 0; o++ {
		if n := p.attempts[o]; n > 0 {
			all = append(all, Failure{o, n})
		}
	}
	return all
}

func sortFailures(all []Failure) {
	slices.SortFunc(all, func(a, b Failure) int { return cmp.Compare(a.Offset, b.Offset) })
}

// mostAttempts is how often a message has failed that has failed most often. The
// caller holds mu.
func (p *Position) mostAttempts() (most int) {
	for _, n := range p.attempts {
		most = max(most, n)
	}
	return most
}

// failures lists the lowest messages that have failed. It is made only when these have
// changed, and must not be.
func (p *Position) failures() []Failure {
	if len(p.attempts) == 0 {
		return nil
	}
	if p.listed == nil {
		all := make([]Failure, 0, len(p.attempts))
		for o, n := range p.attempts {
			all = append(all, Failure{o, n})
		}
		sortFailures(all)
		p.listed = slices.Clip(all[:min(len(all), maxFailed)])
	}
	return p.listed
}
