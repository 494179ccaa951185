package store

import (
	"slices"
	"sync/atomic"
)

// Stats are numbers of a store since it was opened. They only rise.
type Stats struct {
	Syncs   Histogram    // time in nanoseconds of the syncs of logs and of the journal
	Appends Histogram    // that were made durable by one sync
	Bytes   Histogram    // that were made durable by one sync
	Damage  atomic.Int64 // places where messages are lost or damaged, or were when the store was opened
}

// NewStats has none yet.
func NewStats() *Stats {
	return &Stats{Syncs: newHistogram(syncBounds), Appends: newHistogram(appendBounds), Bytes: newHistogram(byteBounds)}
}

// Bounds of buckets. Syncs take from some 10 µs, for a disk with a battery, to seconds.
var (
	syncBounds = []int64{
		50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
		100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 10_000_000_000,
	}
	appendBounds = []int64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096}
	byteBounds   = []int64{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
)

// A Histogram counts values in buckets. Any goroutine may use it.
type Histogram struct {
	bounds []int64         // upper, included; ascending
	counts []atomic.Uint64 // one more than bounds, for values above all
	sum    atomic.Int64
}

func newHistogram(bounds []int64) Histogram {
	return Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts a value.
func (h *Histogram) Observe(v int64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// A Bucket is how many values are at most Bound.
type Bucket struct {
	Bound int64
	Count uint64
}

// Buckets are those of all bounds, ascending, with the number and the sum of all values.
func (h *Histogram) Buckets() (buckets []Bucket, count uint64, sum int64) {
	buckets = make([]Bucket, len(h.bounds))
	for i := range h.counts {
		count += h.counts[i].Load()
		if i < len(buckets) {
			buckets[i] = Bucket{h.bounds[i], count}
		}
	}
	return buckets, count, h.sum.Load()
}

// Quantile is a bound that a share q of the values, 0 to 1, does not exceed: that of a bucket. It is 0
// if there are no values, and the highest bound for values above it.
func (h *Histogram) Quantile(q float64) int64 {
	buckets, count, _ := h.Buckets()
	if count == 0 {
		return 0
	}
	for _, b := range buckets {
		if float64(b.Count) >= q*float64(count) {
			return b.Bound
		}
	}
	return h.bounds[len(h.bounds)-1]
}
