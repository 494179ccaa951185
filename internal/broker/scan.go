package broker

import (
	"runtime"
	"sync"

	"mbus/internal/batch"
)

// decompressionSlots has an element for each call of Scan that runs its function.
var decompressionSlots = make(chan struct{}, runtime.GOMAXPROCS(0))

// iterators are scratch space for Scan. The next garbage collection frees what a large batch
// has made of one.
var iterators = sync.Pool{New: func() any { return new(batch.Iterator) }}

// Scan calls f with an iterator for the records of batches. As many calls run at the same
// time as there are processors, which bounds the memory of compressed batches: each may
// expand to batch.DefaultMaxExpanded bytes. f waits for nothing but the disk, and does not
// call Scan.
func Scan(f func(it *batch.Iterator) error) error {
	decompressionSlots <- struct{}{}
	it := iterators.Get().(*batch.Iterator)
	defer func() {
		iterators.Put(it)
		<-decompressionSlots
	}()
	return f(it)
}
