package line

import (
	"errors"
	"sync"
	"time"

	"mbus/internal/units"
)

// errHangs ends a follower that acknowledges nothing.
var errHangs = errors.New("no acknowledgement")

// A hang is the watch over a client that has to acknowledge within some time.
// The zero value watches nothing.
type hang struct {
	mu    sync.Mutex // guards what follows
	limit time.Duration
	since time.Time // of the last answer, or of the first message after all was answered
	idle  bool      // nothing is unanswered
	hangs bool      // it was silent for too long, and its oldest message has failed
	timer *time.Timer
}

// start begins to watch.
func (h *hang) start(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit, h.idle = f.request.ackTimeout, true
	h.timer = time.AfterFunc(h.limit, func() { h.check(f) })
}

// more says that messages have been sent.
func (h *hang) more(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle && h.timer != nil {
		h.idle, h.since = false, time.Now()
		h.timer.Reset(h.limit)
	}
}

// heard says that the client has answered.
func (h *hang) heard(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.since = time.Now()
		h.idle = h.idle || f.member.Oldest() == 0
	}
}

func (h *hang) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

// found says whether a client was silent for too long.
func (h *hang) found() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hangs
}

// overdue is the oldest message of a client that has been silent for too long; 0 if
// it has not. Then it sees to the next check. The caller holds mu.
func (h *hang) overdue(f *follower) uint64 {
	if h.timer == nil || h.idle { // more has it checked again
		return 0
	}
	oldest := f.member.Oldest()
	if h.idle = oldest == 0; h.idle {
		return 0
	}
	if left := h.limit - time.Since(h.since); left > 0 {
		h.timer.Reset(left)
		return 0
	}
	return oldest
}

// check ends a follower that has been silent for too long: its oldest message
// has failed. While it does that stop waits, so that no message fails, or goes to the
// dead letters, behind the back of a follower that has ended otherwise.
func (h *hang) check(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.overdue(f)
	if oldest != 0 {
		h.fail(f, oldest)
	}
}

// fail says that a client's oldest message has failed, unless it was settled just now:
// then the client has its time again. The caller holds mu.
func (h *hang) fail(f *follower, oldest uint64) {
	failed, ok, err := f.member.Fail(oldest, f.request.retry, time.Now())
	if err != nil || !ok {
		h.since = time.Now()
		h.timer.Reset(h.limit)
		return
	}
	h.hangs = true
	f.bury(failed, "ack-timeout")
	f.fail(answer("TIMEOUT", "%w within %s", errHangs, units.FormatDuration(h.limit)))
}
