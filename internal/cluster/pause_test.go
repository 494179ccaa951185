package cluster

import (
	"testing"
	"time"
)

func TestPausesAreAddedUp(t *testing.T) {
	var p pause
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	for _, step := range []struct {
		second int
		owned  bool
		want   int // seconds, two seconds later
	}{{10, false, 2}, {13, false, 5}, {20, true, 10}, {30, true, 10}, {40, false, 12}, {41, true, 11}} {
		p.note(step.owned, at(step.second))
		if got := p.sum(at(step.second + 2)); got != time.Duration(step.want)*time.Second {
			t.Errorf("at %d s it is %v, not %d s", step.second, got, step.want)
		}
	}
}
