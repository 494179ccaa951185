package jetstream

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// benchPartition is a partition of a topic on three nodes in this process.
func benchPartition(b *testing.B, partitions int) (*Store, []store.Partition) {
	b.Helper()
	s := takeOver(b, ownerOf(b, startEngines(b, 3)), defaultSizes)
	if _, err := s.CreateTopic("bench", partitions, ""); err != nil {
		b.Fatal(err)
	}
	list := make([]store.Partition, partitions)
	for i := range list {
		p, err := s.Partition("bench", i)
		if err != nil {
			b.Fatal(err)
		}
		list[i] = p
	}
	return s, list
}

// batchOf is a batch of n records of 100 bytes.
func batchOf(n int) []byte {
	var build batch.Builder
	for i := range n {
		build.Add(1_768_000_000_000, nil, fmt.Appendf(nil, "%0100d", i*i))
	}
	build.Close(0)
	return bytes.Clone(build.Bytes())
}

// BenchmarkBulk appends batches of 64 KiB to one partition, 4 MiB on their way at a time.
func BenchmarkBulk(b *testing.B) {
	_, list := benchPartition(b, 1)
	p := batchOf(600)
	b.SetBytes(int64(len(p)))
	b.ResetTimer()
	slots := make(chan struct{}, 64)
	for range b.N {
		slots <- struct{}{}
		if err := store.Append(list[0], p, func(_ int64, err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		}); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}

// BenchmarkOneAtATime appends one record, and waits, again and again.
func BenchmarkOneAtATime(b *testing.B) {
	_, list := benchPartition(b, 1)
	p := batchOf(1)
	var times []time.Duration
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		if _, err := store.AppendAndWait(list[0], p); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkAppenders appends one record at a time from many goroutines.
func BenchmarkAppenders(b *testing.B) {
	for _, n := range []int{16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, list := benchPartition(b, 1)
			b.ResetTimer()
			var group sync.WaitGroup
			next := make(chan struct{})
			for range n {
				group.Go(func() {
					p := batchOf(1)
					for range next {
						if _, err := store.AppendAndWait(list[0], p); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				next <- struct{}{}
			}
			close(next)
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
