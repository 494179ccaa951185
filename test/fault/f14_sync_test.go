package fault

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Injected: under publishers and a follower each fdatasync of one topic's file
// fails from some moment on. Expected: nothing that such a sync would have
// covered is acknowledged or shown, the file is synced no second time, other
// topics go on; and after a restart everything is there that was acknowledged or
// shown.
func TestF14FailedSyncCoversNothing(t *testing.T) {
	for range runs(1, 20) {
		failSync(t, brokertest.StartProgram(t, brokertest.Variant(t, allFdatasync), t.TempDir())).mustBeHarmless(t)
	}
}

// The negative controls: brokers that break the promise must be found out.
func TestF14FailedSyncIsNoticedWhenHandledBadly(t *testing.T) {
	for name, c := range map[string]brokertest.Change{"retried": syncRetried, "acknowledged-early": acknowledgedEarly} {
		t.Run(name, func(t *testing.T) {
			if o := failSync(t, brokertest.StartProgram(t, brokertest.Variant(t, c), t.TempDir())); o.harmless() {
				t.Errorf("it is not noticed: %+v", o)
			}
		})
	}
}

// allFdatasync is a broker that makes no sync in the background, where strace can't
// tamper with it.
var allFdatasync = brokertest.Change{
	File: "internal/commitlog/commit.go",
	Old:  "largeSyncBytes = 64 << 10",
	New:  "largeSyncBytes = 1 << 60",
}

// Brokers that break the promise.
var (
	syncRetried = brokertest.Change{
		File: "internal/commitlog/commit.go",
		Old:  "err = f.Sync()",
		New:  "if err = f.Sync(); err != nil {\nerr = f.Sync()\n}",
	}
	acknowledgedEarly = brokertest.Change{
		File: "internal/commitlog/commit.go",
		Old:  "synced, err := c.sync()",
		New:  "synced, err := syncPoint{}, error(nil)\ngo c.sync()",
	}
	shownBeforeTheSync = brokertest.Change{
		File: "internal/commitlog/commit.go",
		Old:  "synced, err := c.sync()",
		New:  "early, _ := c.publish(end, nil)\nfor _, f := range early {\nf(store.More)\n}\nsynced, err := c.sync()",
	}
)

// A syncFailure is what came of a failed sync.
type syncFailure struct {
	tally
	syncs    int      // tried on the file
	answers  []string // the last one of each publisher
	wrongly  int      // acknowledged by what came after the failure
	vanished int      // shown to the follower before, and not there after a restart
	unheard  []string // what a new group was not given then, without a word
}

func (o syncFailure) harmless() bool {
	for _, a := range o.answers {
		if !strings.HasPrefix(a, "-FAILED ") {
			return false
		}
	}
	return o.syncs == 1 && o.wrongly == 0 && o.vanished == 0 && len(o.unheard) == 0 && o.Lost+o.Holes+o.Reordered+o.Phantoms+o.Duplicates == 0
}

func (o syncFailure) mustBeHarmless(t *testing.T) {
	t.Helper()
	report(t, o.tally)
	if !o.harmless() {
		t.Errorf("%+v", o)
	}
}

func failSync(t *testing.T, b *brokertest.Broker) (o syncFailure) {
	t.Helper()
	l := newLedger("sick")
	publishTo(l, b, 4, 2000)
	f := follow(t, b, "sick")
	await(t, "the follower has seen them", func() bool { return len(f.sights()) >= 2000 })

	failing := inject(t, b.Pid(), "fdatasync:error=EIO", segment(b.Data, "sick"))
	var publishing sync.WaitGroup
	var mu sync.Mutex
	for i := range 8 {
		publishing.Go(func() {
			answer := l.publish(b.Producers(), fmt.Sprintf("late%d", i), rand.New(rand.NewPCG(2, uint64(i))), nil, func(n int) {
				mu.Lock()
				defer mu.Unlock()
				o.wrongly += n
			})
			mu.Lock()
			defer mu.Unlock()
			o.answers = append(o.answers, answer)
		})
	}
	publishing.Wait()
	for _, s := range f.sights() {
		if strings.HasPrefix(s.text, "sick late") {
			o.wrongly++
		}
	}
	b.Publish("well", "another topic goes on")
	o.syncs = len(failing.stop())
	o.answers = append(o.answers, l.publish(b.Producers(), "last", rand.New(rand.NewPCG(3, 0)), nil, func(n int) { o.wrongly += n }))

	b.Restart()
	read := lines(b.Drain("sick?from=beginning"))
	o.tally, o.vanished = l.judge(read), f.vanished(read)
	audited, unheard := l.audit(b)
	o.Lost, o.unheard = max(o.Lost, audited.Lost), unheard
	b.Publish("sick", "after the restart it goes on")
	return o
}

// publishTo has so many publishers work until at least so many messages are
// acknowledged, and end in good order.
func publishTo(l *ledger, b *brokertest.Broker, publishers, messages int) {
	stop := make(chan struct{})
	m := newMeter(messages)
	var publishing sync.WaitGroup
	for i := range publishers {
		last := 0
		publishing.Go(func() {
			l.publish(b.Producers(), name(i), rand.New(rand.NewPCG(1, uint64(i))), stop, func(n int) {
				m.count(n - last)
				last = n
			})
		})
	}
	publishing.Go(func() {
		select {
		case <-m.reached:
		case <-time.After(time.Minute): // the missing messages show
		}
		close(stop)
	})
	publishing.Wait()
}
