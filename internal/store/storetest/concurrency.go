package storetest

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"sync"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

var concurrencyTests = []test{
	{"appenders and readers of one log", appendsAndReadsAtOnce},
	{"answers come in the order of offsets", answersInOffsetOrder},
	{"appends, trims and retention", trimsWhileAppending},
	{"readers of what is being forgotten", readsWhileTrimming},
	{"topics made, deleted and listed", changesTopicsAtOnce},
	{"a topic deleted while it is in use", deletesWhileInUse},
	{"a store closed while it is in use", closesWhileInUse},
}

const (
	appenders = 4
	perEach   = 60
)

// appendAtOnce appends from several goroutines, each waiting for every answer,
// and adds all to the model.
func (l *log) appendAtOnce(f *fixture) {
	l.t.Helper()
	var mu sync.Mutex
	var all []batchtest.Stored
	var group sync.WaitGroup
	for i := range appenders {
		m := batchtest.NewMaker(int64(i+1) * 1_000_000)
		group.Go(func() {
			for n := range perEach {
				p := slices.Concat(m.Batch(n%3+1, 40), m.Batch(1, n))
				done := make(chan answer, 1)
				if err := store.Append(l, p, func(base int64, err error) { done <- answer{base, err} }); err != nil {
					f.Errorf("append: %v", err)
					return
				}
				list, err := batchtest.Split(p)
				if a := <-done; err != nil || a.err != nil || a.base != list[0].Base {
					f.Errorf("an append at %d was answered %+v, %v", list[0].Base, a, err)
					return
				}
				mu.Lock()
				all = append(all, list...)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	slices.SortFunc(all, func(a, b batchtest.Stored) int { return cmp.Compare(a.Base, b.Base) })
	var p []byte
	for _, b := range all {
		p = append(p, b.Bytes...)
	}
	l.add(p)
}

func appendsAndReadsAtOnce(f *fixture) {
	l := f.log()
	end := int64(0)
	for n := range perEach {
		end += appenders * int64(n%3+2)
	}
	var group sync.WaitGroup
	read := make([][]byte, 3)
	for i := range read {
		group.Go(func() { read[i] = follow(f, l.Partition, end, 1+i*2000) })
	}
	l.appendAtOnce(f)
	group.Wait()
	var want []byte
	for _, b := range l.batches {
		want = append(want, b.Bytes...)
	}
	for i := range read {
		if !bytes.Equal(read[i], want) {
			f.Errorf("reader %d got %d bytes that are not the %d appended", i, len(read[i]), len(want))
		}
	}
}

// follow reads up to end as it is appended, without ever passing the high
// watermark.
func follow(f *fixture, p store.Partition, end int64, maxBytes int) []byte {
	var c store.Chunk
	defer c.Release()
	var all, buf []byte
	for offset := int64(0); offset < end; {
		woken := make(chan struct{})
		p.Wake(offset, func(store.Reason) { close(woken) })
		<-woken
		_, high := p.Offsets()
		err := p.Read(offset, maxBytes, &c)
		if err == nil {
			buf, err = c.Load(buf)
		}
		if err != nil || c.First != offset || c.Next <= offset {
			f.Errorf("read at %d, below %d, gave %d to %d: %v", offset, high, c.First, c.Next, err)
			return nil
		}
		all = append(all, buf...)
		offset = c.Next
	}
	return all
}

func answersInOffsetOrder(f *fixture) {
	l := f.log()
	var mu sync.Mutex
	var bases []int64
	var appended []byte
	var group, answered sync.WaitGroup
	answered.Add(appenders * perEach)
	for i := range appenders {
		m := batchtest.NewMaker(int64(i+1) * 1_000_000)
		group.Go(func() {
			for range perEach {
				err := store.Append(l, m.Batch(2, 30), func(base int64, err error) {
					mu.Lock()
					bases = append(bases, base)
					mu.Unlock()
					answered.Done()
				})
				if err != nil {
					f.Errorf("append: %v", err)
					answered.Done()
				}
			}
		})
	}
	group.Wait()
	answered.Wait()
	if !slices.IsSorted(bases) {
		f.Errorf("answers came in the order %v", bases)
	}
	list, err := ReadAll(l.Partition, 10_000)
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range list {
		appended = append(appended, b.Bytes...)
	}
	l.add(appended)
}

func trimsWhileAppending(f *fixture) {
	l := f.log()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, high := l.Offsets()
			if err := l.Trim(high / 3); err != nil {
				f.Errorf("trim: %v", err)
			}
			if _, err := l.Retain(store.Retention{Bytes: 3 * SegmentBytes}); err != nil {
				f.Errorf("retain: %v", err)
			}
			if _, err := l.OffsetForTime(batchtest.FirstTime); err != nil {
				f.Errorf("offset for time: %v", err)
			}
		}
	})
	l.appendAtOnce(f)
	close(stop)
	group.Wait()
	l.cut = true
	l.start, _ = l.Offsets()
	f.check()
}

func readsWhileTrimming(f *fixture) {
	l := f.filled(100)
	f.restart() // nothing is open, nothing looked up
	var group sync.WaitGroup
	for i := range 3 {
		group.Go(func() { readFromStart(f, l.Partition, 1+i*2000, l.next) })
	}
	for before := int64(0); before <= l.next; before += 7 {
		l.trim(before)
	}
	l.trim(l.next)
	group.Wait()
}

// readFromStart reads from the log start offset on until that is end.
func readFromStart(f *fixture, p store.Partition, maxBytes int, end int64) {
	for {
		var c store.Chunk
		start, _ := p.Offsets()
		err := p.Read(start, maxBytes, &c)
		switch {
		case errors.Is(err, store.ErrOutOfRange): // it has moved
		case err != nil:
			f.Errorf("read at %d: %v", start, err)
		case start == end:
			c.Release()
			return
		default:
			if _, err := c.Load(nil); err != nil || c.First > start || c.Next <= start {
				f.Errorf("read at %d gave %d to %d: %v", start, c.First, c.Next, err)
			}
		}
		c.Release()
		if f.Failed() {
			return
		}
	}
}

func changesTopicsAtOnce(f *fixture) {
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		group.Go(func() {
			for range 10 {
				if _, err := f.CreateTopic(name, 2, ""); err != nil {
					f.Errorf("create %q: %v", name, err)
				}
				p, err := f.Partition(name, 1)
				if err != nil {
					f.Errorf("partition of %q: %v", name, err)
					return
				}
				if start, high := p.Offsets(); start != 0 || high != 0 {
					f.Errorf("a new %q has offsets %d to %d", name, start, high)
				}
				done := make(chan error, 1)
				var m batchtest.Maker
				if err := store.Append(p, m.Batch(1, 10), func(_ int64, err error) { done <- err }); err != nil {
					f.Errorf("append: %v", err)
				} else if err := <-done; err != nil {
					f.Errorf("append was answered: %v", err)
				}
				f.Topics()
				if err := f.DeleteTopic(name); err != nil {
					f.Errorf("delete %q: %v", name, err)
				}
			}
		})
	}
	group.Wait()
}
