package fault

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// statesWanted is how many crash states are tried, briefly and thoroughly.
const (
	statesWanted     = 20_000
	statesWantedLong = 1_000_000
)

// Injected: a crash before every call that changes the disk of a whole broker,
// with none, all, or random subsets of what was not synced, by sectors of 512
// bytes and by names, some of the sectors torn or garbage. Then, when a broker has
// been started on that and used, another power cut. Expected: after both all that
// was answered, and all that was seen after the first, is there.
func TestF05CrashAtEveryCall(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // each state is a new disk in memory
	wanted := runs(statesWanted, statesWantedLong)
	if brokertest.Race {
		wanted /= 10 // it takes ten times as long
	}
	rounds := 0
	calls, err := simulate(sabotage{}, 0, func(_ *pledges, disk *crashfs.FS) error {
		rounds = roundsIn(t, disk.KillClone())
		return nil
	})
	if err != nil || calls < 100 || rounds == 0 {
		t.Fatalf("the broker makes %d calls, and at least %d rounds of its journal: %v", calls, rounds, err)
	}
	var states atomic.Int64
	if err := crashAtEach(sabotage{}, calls, wanted/(2*calls)+1, &states); err != nil {
		t.Error(err)
	} else if got := int(states.Load()); got < wanted {
		t.Errorf("only %d crash states", got)
	}
	t.Logf("%d crash states, from %d calls", states.Load(), calls)
	report(t, tally{Runs: int(states.Load())})
}

// roundsIn counts the rounds that the files of the journal hold.
func roundsIn(t *testing.T, disk *crashfs.FS) (n int) {
	for name, content := range allFiles(t, disk, specimenRoot) {
		if isJournal(name) {
			n += (written(content) + 4095) / 4096
		}
	}
	return n
}

// The negative controls: a file system that does not sync, or not at once, or
// tries again after a failed sync, must be seen by the same check.
func TestF05CrashesShowASyncThatIsNone(t *testing.T) {
	for name, sabotaged := range sabotages {
		var states atomic.Int64
		err := crashAtEach(sabotaged, 200, 4, &states)
		if err == nil {
			t.Errorf("%s: %d crash states show nothing", name, states.Load())
		}
		t.Logf("%s: %v", name, err)
		report(t, tally{Runs: int(states.Load()), Lost: 1})
	}
}

// crashAtEach cuts a broker's work before each of so many calls, with so many
// outcomes of each, until something promised is missing: that is the error.
func crashAtEach(sabotaged sabotage, calls, outcomes int, states *atomic.Int64) error {
	return eachOf(calls, func(n int) error {
		_, err := simulate(sabotaged, n, func(p *pledges, disk *crashfs.FS) error {
			for i := range outcomes {
				if err := p.outlive(disk.Crash(outcome(n, i)), i%2 == 0, states); err != nil {
					return fmt.Errorf("cut before call %d, outcome %d, %s: %w", n, i, outcome(n, i).Name, err)
				}
			}
			return nil
		})
		return err
	})
}

// eachOf calls f with 1 to n, as many at a time as there are processors, until one
// fails.
func eachOf(n int, f func(i int) error) error {
	var working sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, runtime.GOMAXPROCS(0))
	for worker := range errs {
		working.Go(func() {
			for i := int(next.Add(1)); i <= n && errs[worker] == nil; i = int(next.Add(1)) {
				if errs[worker] = f(i); errs[worker] != nil {
					next.Store(int64(n))
				}
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}

// outcome is what the nth cut leaves the ith time.
func outcome(n, i int) crashfs.Policy {
	seed := uint64(n)<<32 | uint64(i)
	switch {
	case i == 0:
		return crashfs.Nothing()
	case i == 1:
		return crashfs.Everything()
	case i%2 == 0:
		return crashfs.Some(seed)
	}
	return crashfs.Torn(seed)
}

// simulate has a broker work until it dies before its nth call, 0 for never, and
// gives check what it has promised and its disk. It counts the calls.
func simulate(sabotaged sabotage, n int, check func(*pledges, *crashfs.FS) error) (calls int, err error) {
	disk := crashfs.New()
	var made, syncs atomic.Int64
	disk.SetHook(func(c crashfs.Call) error {
		if made.Add(1) == int64(n) {
			disk.Kill()
			return crashfs.ErrDead
		}
		if sabotaged.failing && c.Op == crashfs.Sync && strings.HasSuffix(c.Name, ".log") && syncs.Add(1)%5 == 0 {
			return syscall.EIO
		}
		return nil
	})
	p := newPledges()
	s, err := openSimulated(disk, sabotaged)
	if err == nil {
		s.fs.awake.Store(true)
		err = p.work(s)
		err = errors.Join(err, s.Close()) // nothing is answered after this
	}
	if n > 0 && made.Load() >= int64(n) {
		err = nil // it was to fail
	}
	return int(made.Load()), errors.Join(err, check(p, disk))
}

// outlive starts a broker on what a crash has left, checks it, uses it if asked
// to, cuts the power once more, and checks it again.
func (p *pledges) outlive(disk *crashfs.FS, use bool, states *atomic.Int64) error {
	after, err := p.meet(disk, use)
	states.Add(1)
	if err != nil {
		return err
	}
	if _, err = after.meet(disk.Crash(crashfs.Nothing()), false); err != nil {
		return fmt.Errorf("seen, used (%v), then another power cut: %w", use, err)
	}
	states.Add(1)
	return nil
}

// meet starts a broker on a disk, and ends it as kill -9 does.
func (p *pledges) meet(disk *crashfs.FS, use bool) (after *pledges, err error) {
	s, err := openSimulated(disk, sabotage{})
	if err != nil {
		return nil, err
	}
	found, err := s.look()
	if err == nil {
		after, err = p.judge(found)
	}
	if err == nil {
		after.ghost, err = p.haunted(s)
	}
	if err == nil && use {
		err = after.reuse(s)
	}
	disk.Kill()
	s.Close() // fails, as the disk is gone
	return after, err
}
