package commitlog_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// benchLog is a log in real files that holds n batches of a message of 100 bytes.
func benchLog(b *testing.B, o commitlog.Options, n int) store.Partition {
	s, err := commitlog.Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		b.Fatal(err)
	}
	p, err := s.Partition("orders", 0)
	if err != nil {
		b.Fatal(err)
	}
	var m batchtest.Maker
	for range n {
		appendOne(b, p, m.Batch(1, 100))
	}
	return p
}

// appendOne appends and waits for the answer.
func appendOne(b *testing.B, p store.Partition, batch []byte) {
	answer := make(chan error, 1)
	err := store.Append(p, batch, func(_ int64, err error) { answer <- err })
	if err == nil {
		err = <-answer
	}
	if err != nil {
		b.Fatal(err)
	}
}

// lateSync has syncs come after the benchmark, so that it does not measure the disk.
var lateSync = commitlog.Options{SyncEvery: time.Hour}

// One message to its answer, with and without the sync.
func BenchmarkAppend(b *testing.B) {
	for name, o := range map[string]commitlog.Options{"synced": {}, "not synced": lateSync} {
		b.Run(name, func(b *testing.B) {
			p := benchLog(b, o, 0)
			var m batchtest.Maker
			batch := m.Batch(1, 100)
			b.ReportAllocs()
			for b.Loop() {
				appendOne(b, p, batch)
			}
		})
	}
}

// What was appended last, as each consumer that follows reads it.
func BenchmarkReadLatest(b *testing.B) {
	p := benchLog(b, lateSync, 20_000)
	benchRead(b, p, func(int64) int64 {
		_, high := p.Offsets()
		return high - 1
	})
}

// A log from its beginning, 64 KiB at a time, over and over.
func BenchmarkReadOn(b *testing.B) {
	p := benchLog(b, lateSync, 20_000)
	benchRead(b, p, func(next int64) int64 {
		if _, high := p.Offsets(); next == high {
			return 0
		}
		return next
	})
}

// benchRead reads at the offset that at gives for the end of the read before.
func benchRead(b *testing.B, p store.Partition, at func(next int64) int64) {
	var c store.Chunk
	defer func() { c.Release() }()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		offset := at(c.Next)
		if err := p.Read(offset, 64<<10, &c); err != nil {
			b.Fatal(err)
		}
		batches, err := c.Load(buf)
		if err != nil {
			b.Fatal(err)
		}
		buf = batches
		b.SetBytes(int64(len(batches)))
	}
}

// Topics of one partition, one after the other, and from many goroutines.
func BenchmarkCreateTopics(b *testing.B) {
	for _, makers := range []int{1, 64} {
		b.Run(fmt.Sprint("makers=", makers), func(b *testing.B) {
			s := benchStore(b)
			var made atomic.Int64
			var group sync.WaitGroup
			b.ResetTimer()
			for range makers {
				group.Go(func() {
					for n := made.Add(1); n <= int64(b.N); n = made.Add(1) {
						if _, err := s.CreateTopic(fmt.Sprint("orders-", n), 1, ""); err != nil {
							b.Error(err)
						}
					}
				})
			}
			group.Wait()
		})
	}
}

// A topic of as many partitions as the benchmark has iterations.
func BenchmarkCreatePartitions(b *testing.B) {
	s := benchStore(b)
	b.ResetTimer()
	if _, err := s.CreateTopic("orders", b.N, ""); err != nil {
		b.Fatal(err)
	}
}

func benchStore(b *testing.B) *commitlog.Store {
	s, err := commitlog.Open(b.TempDir(), commitlog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// Sixty-four that append one message at a time, and some that append much, as
// messages (or batches of 64 KiB) an operation, with the processor time each takes.
func BenchmarkAppendAtOnce(b *testing.B) {
	for name, c := range map[string]struct{ appenders, size int }{"64 small": {64, 100}, "4 of 64 KiB": {4, 64 << 10}} {
		b.Run(name, func(b *testing.B) {
			p := benchLog(b, commitlog.Options{}, 0)
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			began := processorTime(b)
			for range c.appenders {
				all.Go(func() {
					var m batchtest.Maker
					for batch := m.Batch(1, c.size); left.Add(-1) >= 0; {
						if _, err := store.AppendAndWait(p, batch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
