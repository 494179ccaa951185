package group

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// A Retry is when a message that has failed comes again, and how often.
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

// Failures are what a position knows of messages that have failed. The position's mu guards
// them.
type failures struct {
	retries  retries       // that wait for their time
	attempts map[int64]int // of messages that have failed and are not acknowledged
	listed   []Failure     // what list has made of attempts; nil when they have changed
}

// count notes how often a message has failed.
func (f *failures) count(offset int64, attempts int) {
	f.listed = nil
	if f.attempts == nil {
		f.attempts = make(map[int64]int)
	}
	f.attempts[offset] = attempts
}

// forget drops the attempts of messages that have been acknowledged.
func (f *failures) forget(s Span) {
	before := len(f.attempts)
	if int64(before) < s.Len() {
		for o := range f.attempts {
			if s.From <= o && o < s.To {
				delete(f.attempts, o)
			}
		}
	} else {
		for o := s.From; o < s.To && len(f.attempts) > 0; o++ {
			delete(f.attempts, o)
		}
	}
	if len(f.attempts) < before {
		f.listed = nil
	}
}

// in lists the messages of a span that have failed before, ascending.
func (f *failures) in(s Span) (all []Failure) {
	if int64(len(f.attempts)) < s.Len() {
		for o, n := range f.attempts {
			if s.From <= o && o < s.To {
				all = append(all, Failure{o, n})
			}
		}
		sortFailures(all)
		return all
	}
	for o := s.From; o < s.To && len(f.attempts) > 0; o++ {
		if n := f.attempts[o]; n > 0 {
			all = append(all, Failure{o, n})
		}
	}
	return all
}

func sortFailures(all []Failure) {
	slices.SortFunc(all, func(a, b Failure) int { return cmp.Compare(a.Offset, b.Offset) })
}

// most is how often a message has failed that has failed most often.
func (f *failures) most() (most int) {
	for _, n := range f.attempts {
		most = max(most, n)
	}
	return most
}

// list lists the lowest messages that have failed. It is made only when these have
// changed, and must not be.
func (f *failures) list() []Failure {
	if len(f.attempts) == 0 {
		return nil
	}
	if f.listed == nil {
		all := make([]Failure, 0, len(f.attempts))
		for o, n := range f.attempts {
			all = append(all, Failure{o, n})
		}
		sortFailures(all)
		f.listed = slices.Clip(all[:min(len(all), maxFailed)])
	}
	return f.listed
}

// retryAt has a failed message come again at the time due.
func (f *failures) retryAt(offset int64, due time.Time) {
	heap.Push(&f.retries, waiting{due, offset})
}

// isRetried reports whether a failed message waits for its time.
func (f *failures) isRetried(offset int64) bool {
	return slices.ContainsFunc(f.retries, func(w waiting) bool { return w.offset == offset })
}

// nextRetry is when the next failed message comes again; zero for never.
func (f *failures) nextRetry() time.Time {
	if len(f.retries) == 0 {
		return time.Time{}
	}
	return f.retries[0].due
}

// popDue takes off a failed message that has waited long enough, if there is one.
func (f *failures) popDue(now time.Time) (offset int64, ok bool) {
	if len(f.retries) == 0 || f.retries[0].due.After(now) {
		return 0, false
	}
	return heap.Pop(&f.retries).(waiting).offset, true
}

// fail notes that the record at s.From, which m holds, has failed: it waits, or, with the
// last attempt, it is dead and waits for Bury or Unbury. The rest of s is a hole, and is
// consumed. fail returns the number of attempts, or 0 if m does not hold the record.
func (p *Position) fail(m *Member, s Span, r Retry, now time.Time) (attempts int, dead bool) {
	offset := s.From
	p.mu.Lock()
	if !p.leases.holds(m, offset) {
		p.mu.Unlock()
		return 0, false
	}
	attempts = p.failures.attempts[offset] + 1
	p.failures.count(offset, attempts)
	p.leases.transfer(Span{offset, offset + 1}, m, failed)
	if hole := (Span{offset + 1, s.To}); hole.Len() > 0 && p.leases.transfer(hole, m, nil) {
		p.leases.advance(hole)
	}
	p.kept.save()
	p.kept.mark()
	dead = r.Attempts > 0 && attempts >= r.Attempts
	if !dead {
		p.ever.returned++
		p.failures.retryAt(offset, now.Add(r.after(attempts)))
	}
	p.finish(true) // not free, but there is a time to wait for
	return attempts, dead
}

// Bury is called when a dead message is among the dead letters: it counts as consumed.
func (p *Position) Bury(offset int64) {
	s := Span{offset, offset + 1}
	p.mu.Lock()
	full := p.leases.parked == maxParked // so nothing above was free
	if !p.leases.transfer(s, failed, nil) {
		p.mu.Unlock()
		return
	}
	p.ever.dead++
	p.consumed(s)
	p.finish(p.order.unlock(s) || full)
}

// Unbury is called when a dead message could not be put among the dead letters: it is
// delivered again at the time due.
func (p *Position) Unbury(offset int64, due time.Time) {
	p.mu.Lock()
	if p.leases.holds(failed, offset) {
		p.failures.retryAt(offset, due)
	}
	p.finish(true)
}

// freeDue frees the failed messages that have waited long enough. The caller holds mu.
func (p *Position) freeDue(now time.Time) {
	for {
		offset, ok := p.failures.popDue(now)
		if !ok {
			return
		}
		p.leases.free(Span{offset, offset + 1}, failed)
	}
}

// FailuresIn lists the messages of a span that have failed before, ascending. Of what
// a member holds only that member can change it.
func (p *Position) FailuresIn(s Span) []Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures.in(s)
}
