package delivery

import (
	"sync"
	"time"
)

// A pump calls fn once or more after each wake, in a goroutine that exists only
// while there is something to do, and never in two at once. It must not be copied.
type pump struct {
	fn      func() error // an error ends the pump; io.EOF is one
	onError func()       // called when it has ended so; it must not block

	mu    sync.Mutex // guards what follows
	idle  sync.Cond  // runs has become false
	again bool       // woken since fn was last called
	runs  bool
	ended bool
	err   error // that it has ended with
	timer *time.Timer
}

// start is the first wake. fn and onError are set before.
func (p *pump) start() {
	p.idle.L = &p.mu
	p.wake()
}

// wake has fn called, now or once more. It does not block.
func (p *pump) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = true
	if !p.runs && !p.ended {
		p.runs = true
		go p.run()
	}
}

// wakeIn is wake after some time; a later call changes the time.
func (p *pump) wakeIn(wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.wake)
	} else {
		p.timer.Reset(wait)
	}
}

func (p *pump) run() {
	for p.goesOn() {
		if err := p.fn(); err != nil {
			p.fail(err)
		}
	}
}

// goesOn reports whether fn is to be called. If not the goroutine has ended, and
// the next wake starts another: it must touch nothing more.
func (p *pump) goesOn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs = p.again && !p.ended
	p.again = false
	if !p.runs {
		p.idle.Broadcast()
	}
	return p.runs
}

// fail ends the pump, from within fn or from without.
func (p *pump) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.ended = true
	p.onError()
}

// failIdle is fail, if there is nothing to do and isIdle agrees, which may look at what fn
// writes. It reports whether the pump has been ended by that: fn is not called any more.
func (p *pump) failIdle(isIdle func() bool, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs || p.ended || !isIdle() {
		return false
	}
	p.ended, p.err = true, err
	p.onError()
	return true
}

func (p *pump) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// stop ends the pump, waits until fn has returned, and returns what it had ended
// with before; nil if nothing. cut is called where fn takes longer than cutTime.
func (p *pump) stop(cut func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.runs {
		defer time.AfterFunc(cutTime, cut).Stop()
	}
	for p.runs {
		p.idle.Wait()
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	return p.err
}

// cutTime is how long a pump that is to end may go on writing.
const cutTime = 250 * time.Millisecond
