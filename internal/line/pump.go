package line

import (
	"sync"
	"time"
)

// A pump calls push once or more after each wake, in a goroutine that exists only
// while there is something to do, and never in two at once. It must not be copied.
type pump struct {
	push func() error // an error ends the pump; io.EOF is one
	over func()       // called when it has ended so; it must not block

	mu    sync.Mutex // guards what follows
	calm  sync.Cond  // runs has become false
	again bool       // woken since push was last called
	runs  bool
	ended bool
	err   error // that it has ended with
	timer *time.Timer
}

// start is the first wake. push and over are set before.
func (p *pump) start() {
	p.calm.L = &p.mu
	p.wake()
}

// wake has push called, now or once more. It does not block.
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
		if err := p.push(); err != nil {
			p.fail(err)
		}
	}
}

// goesOn reports whether push is to be called. If not the goroutine has ended, and
// the next wake starts another: it must touch nothing more.
func (p *pump) goesOn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs = p.again && !p.ended
	p.again = false
	if !p.runs {
		p.calm.Broadcast()
	}
	return p.runs
}

// fail ends the pump, from within push or from without.
func (p *pump) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.ended = true
	p.over()
}

// endIdle is fail, if there is nothing to do and idle says so, which may look at what push
// writes. It reports whether the pump has been ended by that: push is not called any more.
func (p *pump) endIdle(idle func() bool, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs || p.ended || !idle() {
		return false
	}
	p.ended, p.err = true, err
	p.over()
	return true
}

func (p *pump) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// stop ends the pump, waits until push has returned, and returns what it had ended
// with before; nil if nothing. cut is called where push takes longer than cutTime.
func (p *pump) stop(cut func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.runs {
		defer time.AfterFunc(cutTime, cut).Stop()
	}
	for p.runs {
		p.calm.Wait()
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	return p.err
}

// cutTime is how long a pump that is to end may go on writing.
const cutTime = 250 * time.Millisecond
