package commitlog_test

import (
	"errors"
	"path"
	"runtime"
	"sync"
	"syscall"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// segmentBytes is small, so that a workload has many segments.
const segmentBytes = 3 << 10

// openDisk opens the store on a disk, with a journal or, as if the flag had been changed, without.
func openDisk(disk *crashfs.FS, journal int64) (*commitlog.Store, error) {
	return commitlog.Open("/data", workload{journal: journal}.options(disk))
}

// A workload uses a store until it is done or a call fails.
type workload struct {
	name      string
	syncEvery time.Duration
	journal   int64 // bytes of the journal; 0 for none
	run       func(*client) error
	hooks     []crashfs.Hook
}

func (w workload) options(disk *crashfs.FS) commitlog.Options {
	return commitlog.Options{FS: disk, SegmentBytes: segmentBytes, SyncEvery: w.syncEvery, JournalBytes: w.journal}
}

// journalBytes leaves each file three small rounds, so that a workload fills them several times.
const journalBytes = 160 << 10

var workloads = []workload{
	{name: "one after the other", run: oneAfterTheOther},
	{name: "several at once", run: severalAtOnce},
	{name: "topics come and go", run: topicsComeAndGo},
	{name: "topics come and go where they are", run: topicsComeAndGo, hooks: []crashfs.Hook{noMoves}},
	{name: "topics are altered", run: topicsAreAltered},
	{name: "logs are trimmed", run: trimsLogs},
	{name: "segments roll by age and size", run: rollsByAge},
	{name: "synced at intervals", syncEvery: time.Hour, run: oneAfterTheOther},
	{name: "synced at intervals, and trimmed", syncEvery: time.Hour, run: trimsLogs},
	{name: "many topics at once", journal: journalBytes, run: manyAtOnce, hooks: []crashfs.Hook{lingers}},
	{name: "many topics come and go", journal: journalBytes, run: manyComeAndGo, hooks: []crashfs.Hook{lingers}},
	{name: "many topics at once, synced at intervals", journal: journalBytes, syncEvery: time.Hour, run: manyAtOnce, hooks: []crashfs.Hook{lingers}},
}

// steps runs steps until one fails; all of them if the client is stubborn.
func (c *client) steps(list ...func() error) error {
	return c.times(len(list), func(i int) error { return list[i]() })
}

func (c *client) times(n int, step func(i int) error) error {
	for i := range n {
		if err := step(i); err != nil && !c.stubborn {
			return err
		}
	}
	return nil
}

// oneAfterTheOther appends to one log, with and without waiting for answers.
func oneAfterTheOther(c *client) error {
	var m batchtest.Maker
	return c.steps(
		func() error { return c.create("orders", 1) },
		func() error {
			return c.times(6, func(i int) error { return c.appendAndWait("orders", 0, m.Batch(3, 50*i)) })
		},
		func() error { return c.times(12, func(i int) error { return c.append("orders", 0, m.Batch(2, 400)) }) },
		c.sync,
		func() error { return c.look("orders", 0) },
		func() error { return c.appendAndWait("orders", 0, m.Batch(1, 5000), m.Batch(1, 10)) },
		func() error { return c.appendAndWait("orders", 0, m.Batch(2, 700)) },
		c.close,
	)
}

// severalAtOnce appends to two logs from several goroutines and reads.
func severalAtOnce(c *client) error {
	if err := c.create("orders", 2); err != nil && !c.stubborn {
		return err
	}
	errs := make([]error, 4)
	var group sync.WaitGroup
	for g := range errs {
		group.Go(func() {
			m := batchtest.Maker{}
			errs[g] = c.times(6, func(i int) error {
				if g == 3 {
					return c.look("orders", i%2)
				}
				return c.append("orders", i%2, m.Batch(1+i, 60+20*g))
			})
		})
	}
	group.Wait()
	_ = c.sync()
	if err := errors.Join(errs...); err != nil && !c.stubborn {
		return err
	}
	return c.close()
}

// noMoves has no directory moved from tmp/ to topics/ or back, as if one of them were a
// mount of its own.
func noMoves(c crashfs.Call) error {
	if c.Op == crashfs.Rename && path.Dir(c.Name) != path.Dir(c.To) {
		return syscall.EXDEV
	}
	return nil
}

// lingers has a sync take a while, so that other logs have something to commit meanwhile.
func lingers(c crashfs.Call) error {
	for i := 0; i < 50 && c.Op == crashfs.Sync; i++ {
		runtime.Gosched()
	}
	return nil
}

func topicsComeAndGo(c *client) error {
	var m batchtest.Maker
	return c.steps(
		func() error { return c.create("billing", 2) },
		func() error { return c.create("orders", 1) },
		func() error { return c.appendAndWait("billing", 1, m.Batch(2, 30)) },
		func() error { return c.appendAndWait("orders", 0, m.Batch(2, 40)) },
		func() error { return c.delete("billing") },
		func() error { return c.create("billing", 1) },
		func() error { return c.appendAndWait("billing", 0, m.Batch(1, 20)) },
		func() error { return c.delete("orders") },
		c.close,
	)
}

func topicsAreAltered(c *client) error {
	var m batchtest.Maker
	return c.steps(
		func() error { return c.create("orders", 1) },
		func() error { return c.appendAndWait("orders", 0, m.Batch(2, 30)) },
		func() error { return c.configure("orders", `{"a":"1"}`) },
		func() error { return c.grow("orders", 3) },
		func() error { return c.appendAndWait("orders", 2, m.Batch(2, 40)) },
		func() error { return c.configure("orders", `{"b":"2"}`) },
		func() error { return c.appendAndWait("orders", 1, m.Batch(1, 20)) },
		func() error { return c.grow("orders", 4) },
		func() error { return c.appendAndWait("orders", 3, m.Batch(1, 20)) },
		c.close,
	)
}

// trimsLogs has a log's start move by Trim and by retention.
func trimsLogs(c *client) error {
	var m batchtest.Maker
	fill := func() error {
		return c.times(10, func(i int) error { return c.append("orders", 0, m.Batch(3, 250)) })
	}
	return c.steps(
		func() error { return c.create("orders", 1) },
		fill, c.sync,
		func() error { return c.trim("orders", 0, 4) },
		func() error { return c.trim("orders", 0, 16) },
		fill, c.sync,
		func() error { return c.retain("orders", 0, store.Retention{Bytes: 5000}) },
		fill, c.sync,
		func() error {
			c.pass(2 * time.Hour)
			return c.retain("orders", 0, store.Retention{Before: c.now().Add(-time.Hour).UnixMilli(), Keep: 75})
		},
		func() error { return c.look("orders", 0) },
		func() error { return c.trim("orders", 0, 90) },
		func() error { return c.appendAndWait("orders", 0, m.Batch(2, 40)) },
		c.close,
	)
}

// rollsByAge has segments begin because the one before is old, or a small bound is set.
func rollsByAge(c *client) error {
	var m batchtest.Maker
	daily := func() error {
		return c.times(6, func(int) error {
			c.pass(24 * time.Hour)
			return c.appendAndWait("orders", 0, m.Batch(2, 50))
		})
	}
	return c.steps(
		func() error { return c.create("orders", 1) },
		func() error { return c.roll("orders", 0, 1000, 36*time.Hour) },
		daily,
		func() error {
			return c.retain("orders", 0, store.Retention{Before: c.now().Add(-72 * time.Hour).UnixMilli(), Keep: 100})
		},
		func() error { return c.times(4, func(int) error { return c.append("orders", 0, m.Batch(3, 200)) }) },
		c.sync,
		func() error { c.pass(48 * time.Hour); return c.retain("orders", 0, store.Retention{Bytes: 2000}) },
		func() error { return c.look("orders", 0) },
		func() error { return c.appendAndWait("orders", 0, m.Batch(2, 40)) },
		c.close,
	)
}

// appendToAll appends a batch to each log, without waiting for an answer, so that their commits
// meet.
func (c *client) appendToAll(m *batchtest.Maker, size int, logs ...logName) error {
	return c.times(len(logs), func(i int) error {
		return c.append(logs[i].topic, logs[i].number, m.Batch(1+i%3, size+20*i))
	})
}

// manyAtOnce appends to logs of several topics at once: little, so that it goes through the journal,
// and much; segments roll, logs grow and are trimmed meanwhile, and the store is restarted.
func manyAtOnce(c *client) error {
	var m batchtest.Maker
	logs := []logName{{"orders", 0}, {"orders", 1}, {"billing", 0}, {"audit", 0}}
	all := func(size int) func() error { return func() error { return c.appendToAll(&m, size, logs...) } }
	flush := func() error { return c.flush(logs...) }
	return c.steps(
		func() error { return c.create("orders", 2) },
		func() error { return c.create("billing", 1) },
		func() error { return c.create("audit", 1) },
		all(20), c.sync, all(200), flush, all(10), c.sync, all(300), c.sync,
		func() error { return c.trim("billing", 0, 2) },
		func() error { return c.append("orders", 0, m.Batch(1, 70<<10)) },
		all(500), all(40), c.sync,
		func() error { return c.grow("orders", 3) },
		func() error { return c.append("orders", 2, m.Batch(2, 30)) },
		all(700), flush, c.sync, all(900), all(100), c.sync, flush,
		func() error { return c.retain("orders", 1, store.Retention{Bytes: 2000}) },
		c.restart,
		all(30), flush, all(60), c.sync, flush,
		func() error { return c.look("orders", 1) },
		all(20), c.close,
	)
}

// manyComeAndGo deletes topics and makes them again while others, and they themselves, are appended to.
func manyComeAndGo(c *client) error {
	var m batchtest.Maker
	logs := []logName{{"orders", 0}, {"billing", 0}, {"audit", 0}}
	all := func(size int) func() error { return func() error { return c.appendToAll(&m, size, logs...) } }
	return c.steps(
		func() error { return c.create("orders", 1) },
		func() error { return c.create("billing", 1) },
		func() error { return c.create("audit", 1) },
		all(20), c.sync, all(100),
		func() error { return c.delete("audit") }, c.sync,
		func() error { return c.create("audit", 1) },
		all(50), c.sync, all(10), c.sync,
		func() error { return c.delete("billing") },
		func() error { return c.create("billing", 1) },
		all(40), all(80), c.sync, c.restart, all(90),
		func() error { return c.delete("orders") },
		c.close,
	)
}

func (c *client) appendAndWait(name string, number int, batches ...[]byte) error {
	if err := c.append(name, number, batches...); err != nil {
		return err
	}
	return c.sync()
}
