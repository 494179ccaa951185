package group

import (
	"container/list"
	"sync"
	"time"

	"mbus/internal/store"
)

// A Log is the log that a position is in.
type Log interface {
	Offsets() (start, high int64)

	// Wake calls f once, soon, when the log has more than offset, or has ended.
	Wake(offset int64, f func(store.Reason)) (cancel func())
}

// A Waiter is a member while it has nothing to do: it waits for messages of the
// positions that it watches. Of all that wait for a position one is woken when
// something has become free, the one that has waited longest. It takes what it can,
// and then has the next one woken if there is more: so a message wakes one member,
// however many wait.
//
// Watch, Busy, Rest and Close are called by one goroutine at a time.
type Waiter struct {
	wake    func() // there may be something to lease
	watches []*watch

	mu     sync.Mutex // guards what follows; taken after a Position's
	isIdle bool
	by     *Position // that has woken it, and has not been looked at since; nil for none
}

// A watch is a Waiter's interest in one position.
type watch struct {
	*Waiter
	pos    *Position
	queued *list.Element // in the position's queue; nil for not; guarded by its mu
}

// NewWaiter watches nothing yet. wake must not block, nor call a Position, a Member or
// a Waiter.
func NewWaiter(wake func()) *Waiter { return &Waiter{wake: wake} }

// Watch has the Waiter wait for messages of p, too, which are in log.
func (w *Waiter) Watch(p *Position, log Log) {
	x := &watch{Waiter: w, pos: p}
	w.watches = append(w.watches, x)
	p.watch(log)
}

// Busy is called when the member looks for messages itself from now on.
func (w *Waiter) Busy() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isIdle = false
}

// PassOn is called when the member has leased something, or can't take anything: if there is
// more where it was woken, another one is woken. The call comes before anything that takes time.
func (w *Waiter) PassOn() {
	w.mu.Lock()
	p := w.by
	w.by = nil
	w.mu.Unlock()
	if p != nil {
		p.mu.Lock()
		p.unlockAndWake()
	}
}

// Rest is called when the member has found nothing, and could take something.
func (w *Waiter) Rest() {
	w.mu.Lock()
	w.isIdle, w.by = true, nil // because all positions are looked at once more
	w.mu.Unlock()
	for _, x := range w.watches {
		x.pos.waiters.await(x)
	}
}

// Close ends the waiting. The next member gets the wake that this one has not used.
func (w *Waiter) Close() {
	w.Busy()
	w.PassOn()
	for _, x := range w.watches {
		x.pos.waiters.remove(x)
	}
	w.watches = nil
}

// shouldWake reports whether the member is to be woken for p: if it is idle, and was not woken
// since.
func (w *Waiter) shouldWake(p *Position) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.isIdle {
		return false
	}
	w.isIdle, w.by = false, p
	return true
}

// Waiters are the members that watch a position, whose mu guards them.
type waiters struct {
	pos         *Position
	log         Log
	users       int       // how many watch
	queue       list.List // of *watch, those that have waited longest first; some may be busy again
	above       int64     // the log is to call when it has more than this; -1 for not
	unsubscribe func()
	alarm       time.Time // when the queue is looked at, because a message is due; zero for never
	cancelAlarm func()
}

// watch adds a watch.
func (p *Position) watch(log Log) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters == nil {
		p.waiters = &waiters{pos: p, log: log, above: -1}
	}
	p.waiters.users++
}

// remove ends a watch.
func (w *waiters) remove(x *watch) {
	w.pos.mu.Lock()
	defer w.pos.mu.Unlock()
	if x.queued != nil {
		w.queue.Remove(x.queued)
	}
	if w.users--; w.users > 0 {
		return
	}
	if w.unsubscribe != nil {
		w.unsubscribe()
	}
	if w.cancelAlarm != nil {
		w.cancelAlarm()
	}
	w.pos.waiters = nil
}

// await puts a member that has found nothing into the queue.
func (w *waiters) await(x *watch) {
	w.pos.mu.Lock()
	if x.queued == nil {
		x.queued = w.queue.PushBack(x)
	}
	w.subscribe()
	w.pos.unlockAndWake()
}

// subscribe has the log call when it has more, if anybody waits. The caller holds mu.
func (w *waiters) subscribe() {
	if w.queue.Len() == 0 {
		return
	}
	_, high := w.log.Offsets()
	if w.above == high {
		return
	}
	if w.unsubscribe != nil {
		w.unsubscribe()
	}
	w.above = high
	w.unsubscribe = w.log.Wake(high, func(store.Reason) { w.hasMore(high) })
}

// hasMore is called by the log when it has more than high, or has ended.
func (w *waiters) hasMore(high int64) {
	p := w.pos
	p.mu.Lock()
	if p.waiters != w || w.above != high {
		p.mu.Unlock()
		return
	}
	w.above, w.unsubscribe = -1, nil
	if _, now := w.log.Offsets(); now > high {
		w.subscribe()
	}
	p.unlockAndWake()
}

// unlockAndWake wakes the member that has waited longest, if anything is free, or sets the
// alarm for the next message that is due. The caller holds mu.
func (p *Position) unlockAndWake() {
	next := p.waiters.next()
	p.mu.Unlock()
	if next != nil {
		next.wake()
	}
}

// next takes the member that has waited longest out of the queue, if anything is free.
func (w *waiters) next() *watch {
	if w == nil || w.queue.Len() == 0 {
		return nil
	}
	p := w.pos
	now := p.clock().Now()
	_, high := w.log.Offsets()
	free, due := p.free(high, now)
	if free.Len() <= 0 {
		w.setAlarm(due)
		return nil
	}
	for e := w.queue.Front(); e != nil; e = w.queue.Front() {
		x := e.Value.(*watch)
		w.queue.Remove(e)
		if x.queued = nil; x.shouldWake(p) {
			return x
		}
	}
	return nil
}

// setAlarm has the queue looked at when a message is due; the zero time is never.
func (w *waiters) setAlarm(due time.Time) {
	if due.IsZero() || !w.alarm.IsZero() && !due.Before(w.alarm) {
		return
	}
	if w.cancelAlarm != nil {
		w.cancelAlarm()
	}
	w.alarm = due
	w.cancelAlarm = w.pos.clock().At(due, func() { w.isDue(due) })
}

// isDue is called when a message is due, or a little later.
func (w *waiters) isDue(due time.Time) {
	p := w.pos
	p.mu.Lock()
	if p.waiters == w && w.alarm.Equal(due) {
		w.alarm, w.cancelAlarm = time.Time{}, nil
	}
	p.unlockAndWake()
}

// A Clock tells the time.
type Clock interface {
	Now() time.Time

	// At calls f once when it is t, from another goroutine.
	At(t time.Time, f func()) (cancel func())
}

// clock is the one by which messages are due.
func (p *Position) clock() Clock {
	if p.groups != nil && p.groups.Clock != nil {
		return p.groups.Clock
	}
	return systemClock{}
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) At(t time.Time, f func()) (cancel func()) {
	timer := time.AfterFunc(time.Until(t), f)
	return func() { timer.Stop() }
}
