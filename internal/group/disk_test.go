package group_test

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"mbus/internal/group"
)

// A disk keeps what is written, over the lives of a broker.
type disk map[group.Key]string

func (d disk) apply(entries []group.Entry) {
	for _, e := range entries {
		switch {
		case e.Key == prodKey:
		case e.Gone:
			delete(d, e.Key)
		default:
			d[e.Key] = string(e.AppendValue(nil, 0))
		}
	}
}

// prodKey is a position of which nothing is kept. It is committed whenever the
// positions log could come to rest: so the goroutine that writes is always within a
// write while anything else happens, and what it gathers does not depend on the
// scheduler.
var prodKey = group.Key{Group: "prod"}

// A life is one run of a broker: its groups, and the positions log as the simulation
// drives it.
type life struct {
	groups  *group.Groups
	arrived chan []group.Entry // a write has begun
	result  chan error         // that it ends with
	entries []group.Entry      // of the write under way
	truth   disk               // as it must be when that is done
	within  []*syncing         // answered with the write under way
	behind  []*syncing         // answered with the next one
	answers chan answer
	killed  chan struct{} // when closed, all writes fail
}

// A syncing is a call of Groups.Sync.
type syncing struct {
	acked    []*message // what it will confirm
	reopened []*message // the same
	gone     []string   // topics deleted before
	calls    int        // of done
}

type answer struct {
	*syncing
	err error
}

var errWrite = errors.New("not kept")

func newLife() *life {
	l := &life{
		arrived: make(chan []group.Entry), result: make(chan error),
		answers: make(chan answer, 1000), killed: make(chan struct{}),
	}
	l.groups = group.New(func(entries []group.Entry) error {
		select {
		case l.arrived <- entries:
			return <-l.result
		case <-l.killed:
			return errWrite
		}
	})
	return l
}

// prod makes the positions log write once more.
func (l *life) prod() {
	l.groups.Commit([]group.Set{{Position: position(l.groups, prodKey)}}, func(error) {})
}

// sync calls Sync.
func (l *life) sync(y *syncing) {
	l.behind = append(l.behind, y)
	l.groups.Sync(func(err error) { l.answers <- answer{y, err} })
}

// begin waits until a write has begun; truth is how things are.
func (l *life) begin(truth disk) error {
	select {
	case l.entries = <-l.arrived:
	case <-time.After(patience):
		return errors.New("what has changed is not written")
	}
	l.truth, l.within, l.behind = truth, l.behind, nil
	return nil
}

// patience bounds waits for what must happen.
const patience = time.Minute

// succeed ends the write under way well.
func (l *life) succeed(d disk, now disk) (confirmed []*syncing, err error) {
	d.apply(l.entries)
	if !maps.Equal(d, l.truth) {
		return nil, fmt.Errorf("a write of %+v leaves %x, but all that has changed makes it %x", l.entries, d, l.truth)
	}
	confirmed = l.within
	l.prod()
	l.result <- nil
	if err := l.begin(now); err != nil {
		return nil, err
	}
	return confirmed, l.answered(confirmed, false)
}

// fail ends the write under way badly: perhaps it is kept, though. Another one
// begins by itself if somebody waits behind it, or commits.
func (l *life) fail(d disk, kept, commits bool, now disk) error {
	if kept {
		d.apply(l.entries)
	}
	within := l.within
	l.result <- errWrite
	if len(l.behind) == 0 && !commits {
		l.flushInVain()
		l.prod()
	}
	if err := l.begin(now); err != nil {
		return err
	}
	return l.answered(within, true)
}

// flushInVain flushes, where the write that may come of it fails.
func (l *life) flushInVain() {
	flushed := make(chan struct{})
	go func() {
		l.groups.Flush()
		close(flushed)
	}()
	select {
	case <-l.arrived:
		l.result <- errWrite
		<-flushed
	case <-flushed:
	}
}

// answered checks that those and no others have been answered.
func (l *life) answered(all []*syncing, bad bool) error {
	for range all {
		select {
		case a := <-l.answers:
			a.calls++
			if (a.err != nil) != bad {
				return fmt.Errorf("sync returns %v, but the write failed: %v", a.err, bad)
			}
		case <-time.After(patience):
			return errors.New("a sync is not answered")
		}
	}
	for _, y := range all {
		if y.calls != 1 {
			return fmt.Errorf("done of a sync was called %d times", y.calls)
		}
	}
	if len(l.answers) > 0 {
		return errors.New("a sync is answered too early, or twice")
	}
	return nil
}

// kill ends the life; what is being written is kept, perhaps.
func (l *life) kill(d disk, kept bool) error {
	if kept {
		d.apply(l.entries)
	}
	close(l.killed)
	l.result <- errWrite
	l.groups.Flush()
	return l.answered(append(l.within, l.behind...), true)
}
