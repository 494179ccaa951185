package measure

import (
	"runtime"
	"syscall"
	"time"
)

// An OpenLoop sends messages at a fixed rate, whether or not those before have
// arrived: what is late shows in the latency, as it would to those who wait.
type OpenLoop struct {
	Rate int           // messages a second
	For  time.Duration // of messages that are due

	// Send is called with the time at which each message was due, Flush when no
	// more is due at the moment. Where they take long several messages are due
	// at the next chance.
	Send  func(due time.Time) error
	Flush func() error
}

// Run sends all messages and returns how many there were.
func (l *OpenLoop) Run() (int, error) {
	runtime.LockOSThread() // for the exact timer
	defer runtime.UnlockOSThread()
	exactTimer()
	total := int(l.For.Seconds() * float64(l.Rate))
	begun := time.Now()
	due := func(i int) time.Time { return begun.Add(time.Duration(i) * time.Second / time.Duration(l.Rate)) }
	for i := 0; i < total; {
		sleepUntil(due(i))
		for now := time.Now(); i < total && !due(i).After(now); i++ {
			if err := l.Send(due(i)); err != nil {
				return i, err
			}
		}
		if err := l.Flush(); err != nil {
			return i, err
		}
	}
	return total, nil
}

// exactTimer has the kernel wake this thread when it asked to be, not up to
// 50 us later: prctl(PR_SET_TIMERSLACK, 1 ns). Where it fails it stays as it was.
func exactTimer() {
	const setTimerSlack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
}

// sleepUntil sleeps in the kernel: time.Sleep may be a millisecond late where
// nothing else happens.
func sleepUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		spec := syscall.NsecToTimespec(d.Nanoseconds())
		_ = syscall.Nanosleep(&spec, nil) // where it was interrupted the loop goes on
	}
}
