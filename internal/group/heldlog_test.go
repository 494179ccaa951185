package group_test

import (
	"fmt"
	"maps"
	"sync"

	"mbus/internal/group"
)

// A heldLog keeps what it was given last, if it does not wait or fail.
type heldLog struct {
	mu     sync.Mutex // guards what follows
	wake   *sync.Cond // goesOn has changed
	kept   map[group.Key]group.State
	writes int // begun
	goesOn bool
	err    error
	once   bool // err is for one write
}

func newHeldLog() *heldLog {
	j := &heldLog{kept: make(map[group.Key]group.State), goesOn: true}
	j.wake = sync.NewCond(&j.mu)
	return j
}

func (j *heldLog) write(entries []group.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes++
	for !j.goesOn {
		j.wake.Wait()
	}
	if err := j.err; err != nil {
		if j.once {
			j.err = nil
		}
		return err
	}
	for _, e := range entries {
		if e.Gone {
			delete(j.kept, e.Key)
		} else {
			j.kept[e.Key] = e.State
		}
	}
	return nil
}

// set says whether writes end, and how: all, or only the first one.
func (j *heldLog) set(goesOn bool, err error, once bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.goesOn, j.err, j.once = goesOn, err, once
	j.wake.Broadcast()
}

// begun is how many writes have begun.
func (j *heldLog) begun() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.writes
}

// all is what is kept.
func (j *heldLog) all() map[group.Key]group.State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.kept)
}

func (j *heldLog) keptText() string {
	s, ok := j.all()[theKey]
	if !ok {
		return "nothing"
	}
	text := fmt.Sprint(s.Offset)
	for _, b := range s.AckedAhead {
		text += fmt.Sprintf(" %d-%d", b.From, b.To)
	}
	for _, f := range s.Failed {
		text += fmt.Sprintf(" %d*%d", f.Offset, f.Attempts)
	}
	return text
}
