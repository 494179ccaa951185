package storetest

import (
	"errors"
	"sync"
	"sync/atomic"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// race has goroutines append to a log and read it until they are refused, calls
// end meanwhile, and checks that they were refused with want and that all appends
// were answered once.
func (l *log) race(f *fixture, want error, end func()) {
	l.t.Helper()
	var appended, answered, twice atomic.Int32
	var group sync.WaitGroup
	begun := make(chan struct{}, 1000)
	refused := func(err error) bool {
		if err != nil && !errors.Is(err, want) {
			f.Errorf("refused with %v, want %v", err, want)
		}
		return err != nil
	}
	for i := range appenders {
		m := batchtest.NewMaker(int64(i+1) * 1_000_000)
		group.Go(func() {
			for n := 0; ; n++ {
				var calls atomic.Int32
				err := store.Append(l, m.Batch(2, 100), func(int64, error) {
					answered.Add(1)
					twice.Add(min(1, calls.Add(1)-1))
				})
				if refused(err) {
					return
				}
				appended.Add(1)
				if n == 10 {
					begun <- struct{}{}
				}
			}
		})
		group.Go(func() { readUntilRefused(f, l.Partition, refused) })
	}
	for range appenders {
		wait(l.t, begun, "the beginning of the appends")
	}
	end()
	group.Wait()
	if a, b := appended.Load(), answered.Load(); a != b || twice.Load() > 0 {
		f.Errorf("%d appends were answered %d times, %d of them twice", a, b, twice.Load())
	}
}

func readUntilRefused(f *fixture, p store.Partition, refused func(error) bool) {
	var c store.Chunk
	defer c.Release()
	var buf []byte
	for offset := int64(0); ; offset = c.Next {
		if refused(p.Read(offset, 5000, &c)) {
			return
		}
		var err error
		if buf, err = c.Load(buf); err != nil {
			f.Errorf("load of %d to %d: %v", c.First, c.Next, err)
			return
		}
	}
}

func deletesWhileInUse(f *fixture) {
	l := f.log()
	l.race(f, store.ErrDeleted, func() { f.delete("orders") })
	f.create("orders", 1)
}

func closesWhileInUse(f *fixture) {
	l := f.log()
	l.race(f, store.ErrClosed, func() {
		if err := f.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
	})
	f.Store = f.reopen()
	f.connect()
	list, err := ReadAll(l.Partition, 10_000)
	if err != nil {
		f.Fatal(err)
	}
	if len(list) < 10*appenders {
		f.Errorf("%d batches are left", len(list))
	}
	for _, b := range list {
		l.add(b.Bytes)
	}
}
