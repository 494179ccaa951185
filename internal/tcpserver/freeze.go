package tcpserver

import (
	"sync"
	"sync/atomic"
	"time"
)

// A FreezeWatch finds out that this process has stood still, so that what clients have sent may lie there unread for long, and they have
// sent it elsewhere. Any goroutine may call its methods.
type FreezeWatch struct {
	limit time.Duration
	start time.Time
	beat  atomic.Int64 // when the process was last seen to be at work, in nanoseconds since the start
	once  sync.Once
	stop  chan struct{}
}

// WatchFreezes makes one for freezes of limit or more. It calls onFreeze soon after the end of one, until Stop.
func WatchFreezes(limit time.Duration, onFreeze func()) *FreezeWatch {
	w := &FreezeWatch{limit: limit, start: time.Now(), stop: make(chan struct{})}
	go w.run(onFreeze)
	return w
}

func (w *FreezeWatch) run(onFreeze func()) {
	ticker := time.NewTicker(w.limit / 10)
	defer ticker.Stop()
	for {
		if w.IsOver() {
			onFreeze()
		}
		w.beat.Store(int64(time.Since(w.start)))
		select {
		case <-ticker.C:
		case <-w.stop:
			return
		}
	}
}

// IsOver says whether a freeze has just ended, of which onFreeze may not know yet.
func (w *FreezeWatch) IsOver() bool {
	return time.Since(w.start)-time.Duration(w.beat.Load()) >= w.limit
}

// Set has the process be seen at work for the last time so long ago, for tests.
func (w *FreezeWatch) Set(ago time.Duration) { w.beat.Store(int64(time.Since(w.start) - ago)) }

// Stop ends the watch.
func (w *FreezeWatch) Stop() { w.once.Do(func() { close(w.stop) }) }
