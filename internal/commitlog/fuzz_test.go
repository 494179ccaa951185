package commitlog_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// FuzzRecoverSegment opens a log whose only segment and its index hold anything:
// what is valid at the segment's beginning is there afterwards, and the log
// can be used.
func FuzzRecoverSegment(f *testing.F) {
	template, log, index := seedLog(f)
	place := batch.Batch(log).LeaderEpoch()
	log = adopt(log, place, 0)
	half := len(log) / 2
	f.Add(log, index)
	f.Add(log[:half], index)
	f.Add(log[:half], []byte{})
	f.Add(log, []byte("mbusidx2"))
	f.Add(append(log[:half:half], log[half+7:]...), index)
	f.Add([]byte{}, index)
	f.Add(append(log[:half:half], make([]byte, 500)...), []byte{})
	f.Fuzz(func(t *testing.T, log, index []byte) {
		disk := template.KillClone()
		log = adopt(log, 0, place)
		writeFile(t, disk, activeLog, log)
		writeFile(t, disk, strings.TrimSuffix(activeLog, ".log")+".index", index)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		recoverAndUse(t, disk, soundPrefix(log, place))
		runtime.ReadMemStats(&after)
		most := uint64(100*(len(log)+len(index)) + 16<<20)
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%d bytes were allocated for %d of segment and %d of index", n, len(log), len(index))
		}
	})
}

// seedLog makes a disk with a log, closed.
func seedLog(f *testing.F) (disk *crashfs.FS, log, index []byte) {
	disk = crashfs.New()
	s, err := commitlog.Open("/data", commitlog.Options{FS: disk})
	if err != nil {
		f.Fatal(err)
	}
	ps := newPromises()
	c := newClient(s, ps)
	var m batchtest.Maker
	err = c.steps(
		func() error { return c.create("orders", 1) },
		func() error {
			return c.times(6, func(i int) error { return c.appendAndWait("orders", 0, m.Batch(1+i%3, 20*i)) })
		},
		c.Close,
	)
	if err != nil {
		f.Fatal(err)
	}
	disk = disk.KillClone()
	log = readFile(f, disk, activeLog)
	index = readFile(f, disk, strings.TrimSuffix(activeLog, ".log")+".index")
	return disk, log, index
}

// adopt gives the batches that p begins with another leader epoch, so that inputs
// of other runs can be the log's, too.
func adopt(p []byte, from, to int32) []byte {
	p = bytes.Clone(p)
	for rest := p; len(rest) > 0; {
		b, after, err := batch.Next(rest)
		if err != nil {
			break
		}
		if b.LeaderEpoch() == from {
			b.Stamp(b.BaseOffset(), to)
		}
		rest = after
	}
	return p
}

// soundPrefix gives the batches that p begins with and that can be a log's.
func soundPrefix(p []byte, place int32) []batchtest.Stored {
	var list []batchtest.Stored
	var next int64
	for {
		b, rest, err := batch.Next(p)
		if err != nil || b.BaseOffset() != next || b.LastOffsetDelta() < 0 || b.LeaderEpoch() != place || b.CheckCRC() != nil {
			return list
		}
		list = append(list, batchtest.Stored{Base: next, Next: b.NextOffset(), Bytes: b})
		p, next = rest, b.NextOffset()
	}
}

// recoverAndUse opens the log, twice, and says that it begins with prefix.
func recoverAndUse(t *testing.T, disk *crashfs.FS, prefix []batchtest.Stored) {
	for range 2 {
		s, err := commitlog.Open("/data", commitlog.Options{FS: disk})
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		p, err := s.Partition("orders", 0)
		if err != nil {
			t.Fatal(err)
		}
		sound, _, err := survey(p, 300)
		if err != nil {
			t.Fatal(err)
		}
		if len(sound) < len(prefix) {
			t.Fatalf("%d batches are left of %d", len(sound), len(prefix))
		}
		sameBatches(t, sound[:len(prefix)], prefix)
		r := &rig{T: t, Partition: p}
		r.fill(1)
		s.Close()
	}
}
