package broker

import (
	"runtime"
	"sync"

	"mbus/internal/batch"
)

// scanning holds as many as there are calls of Scan that run their function.
var scanning = make(chan struct{}, runtime.GOMAXPROCS(0))

// iterators are scratch space for Scan. What a large batch has made of one goes
// with the next collection of garbage.
var iterators = sync.Pool{New: func() any { return new(batch.Iterator) }}

// Scan calls f with an iterator to look at records with. As many run at the same
// time as there are processors, which bounds what compressed batches can cost: each
// may expand to batch.DefaultMaxExpanded bytes. f waits for nothing but the disk,
// and does not call Scan.
func Scan(f func(it *batch.Iterator) error) error {
	scanning <- struct{}{}
	it := iterators.Get().(*batch.Iterator)
	defer func() {
		iterators.Put(it)
		<-scanning
	}()
	return f(it)
}
