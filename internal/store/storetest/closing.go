package storetest

import (
	"mbus/internal/store"
)

var closeTests = []test{
	{"appends under way are completed and kept", closeAnswers},
	{"later calls are refused", closeRefuses},
	{"nothing to do", closeIdle},
}

func closeAnswers(f *fixture) {
	l := f.log()
	const appends = 200
	done := make(chan answer, 2*appends)
	for range appends {
		p := f.Batch(1, 100)
		if err := store.Append(l, p, func(base int64, err error) { done <- answer{base, err} }); err != nil {
			f.Fatal(err)
		}
		l.add(p)
	}
	if err := f.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	if len(done) != appends {
		f.Fatalf("%d of %d appends were answered when Close returned", len(done), appends)
	}
	for i := range int64(appends) {
		if a := <-done; a.err != nil || a.base != i {
			f.Fatalf("answer %d is %+v", i, a)
		}
	}
}

func closeRefuses(f *fixture) {
	l := f.filled(10)
	if err := f.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	refusesWith(f, l.Partition, store.ErrClosed)
	_, err := f.CreateTopic("new", 1, "")
	f.refuses("create topic", err, store.ErrClosed)
	f.refuses("delete topic", f.DeleteTopic("orders"), store.ErrClosed)
	_, err = f.Partition("orders", 0)
	f.refuses("partition", err, store.ErrClosed)
}

func closeIdle(f *fixture) {
	f.create("empty", 3)
	if err := f.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
}
