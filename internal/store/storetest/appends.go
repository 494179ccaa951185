package storetest

import (
	"bytes"
	"slices"
	"sync"

	"mbus/internal/store"
)

var appendTests = []test{
	{"offsets go on without a gap", stampsContiguously},
	{"several batches in one call follow each other", appendsSeveral},
	{"batches are stamped in place and may be reused", stampsInPlace},
	{"only base offset and leader epoch are changed", changesNothingElse},
	{"done is called once each, in order", answersInOrder},
	{"a batch is visible when done is called", answersWhenVisible},
	{"a batch larger than a segment is kept", appendsLargeBatch},
	{"batches of all sizes are kept", appendsAllSizes},
	{"offsets go on after a restart", goesOnAfterRestart},
	{"logs do not mix", keepsLogsApart},
}

func stampsContiguously(f *fixture) {
	l := f.log()
	want := int64(0)
	for i := range 40 {
		if got := l.append(f.Batch(i%7+1, 100)); got != want {
			f.Fatalf("append %d was answered with offset %d, want %d", i, got, want)
		}
		want += int64(i%7 + 1)
		if _, high := l.Offsets(); high != want {
			f.Fatalf("the high watermark is %d, want %d", high, want)
		}
	}
	f.check()
}

func appendsSeveral(f *fixture) {
	l := f.log()
	for i := range 10 {
		base := l.append(f.Batch(3, 50), f.Batch(1, 500), f.Batch(9, 10))
		if want := int64(i) * 13; base != want {
			f.Fatalf("answered with offset %d, want %d", base, want)
		}
	}
	f.check()
}

func stampsInPlace(f *fixture) {
	l := f.log()
	l.append(f.Batch(4, 10))
	p := slices.Concat(f.Batch(2, 100), f.Batch(3, 100))
	done := make(chan answer, 1)
	if err := store.Append(l, p, func(base int64, err error) { done <- answer{base, err} }); err != nil {
		f.Fatal(err)
	}
	l.add(p) // fails if they are not stamped 4 and 6
	scribble(p)
	if a := wait(f.T, done, "done"); a.err != nil || a.base != 4 {
		f.Fatalf("answered %+v", a)
	}
	f.check()
}

func changesNothingElse(f *fixture) {
	l := f.log()
	l.append(f.Batch(4, 10))
	p := f.Batch(2, 100)
	before := bytes.Clone(p)
	l.append(p)
	stored := l.batches[1].Bytes
	var c store.Chunk
	defer c.Release()
	got := l.read(4, 1, &c)[0].Bytes
	copy(before, stored[:8])           // base offset
	copy(before[12:16], stored[12:16]) // leader epoch
	if !bytes.Equal(got, before) {
		f.Error("more than base offset and leader epoch was changed")
	}
}

func answersInOrder(f *fixture) {
	l := f.log()
	const appends = 300
	var mu sync.Mutex
	var got []answer
	all := make(chan struct{})
	for range appends {
		p := f.Batch(2, 50)
		err := store.Append(l, p, func(base int64, err error) {
			mu.Lock()
			defer mu.Unlock()
			if got = append(got, answer{base, err}); len(got) == appends {
				close(all)
			}
		})
		if err != nil {
			f.Fatal(err)
		}
		l.add(p)
	}
	wait(f.T, all, "the last answer")
	f.restart() // anything called twice has been by now
	mu.Lock()
	defer mu.Unlock()
	if len(got) != appends {
		f.Fatalf("%d answers to %d appends", len(got), appends)
	}
	for i, a := range got {
		if a.err != nil || a.base != int64(2*i) {
			f.Fatalf("answer %d is %+v, want offset %d", i, a, 2*i)
		}
	}
}

func answersWhenVisible(f *fixture) {
	l := f.log()
	high := make(chan int64, 1)
	for range 50 {
		p := f.Batch(3, 50)
		err := store.Append(l, p, func(int64, error) {
			_, h := l.Offsets()
			high <- h
		})
		if err != nil {
			f.Fatal(err)
		}
		l.add(p)
		if h := wait(f.T, high, "done"); h != l.next {
			f.Fatalf("when offset %d was acknowledged the high watermark was %d", l.next-1, h)
		}
		l.readsAt(l.next-1, l.batches[len(l.batches)-1])
	}
}

func appendsLargeBatch(f *fixture) {
	l := f.log()
	l.append(f.Batch(1, 10))
	l.append(f.Batch(1, 20*SegmentBytes))
	l.append(f.Batch(1, 10), f.Batch(3, 5*SegmentBytes), f.Batch(1, 10))
	f.check()
}

func appendsAllSizes(f *fixture) {
	l := f.log()
	for size := range 600 {
		l.append(f.Batch(1, size))
	}
	f.check()
}

func goesOnAfterRestart(f *fixture) {
	l := f.log()
	for i := range 12 {
		f.restart()
		if got, want := l.append(f.Batch(5, 60*i)), int64(5*i); got != want {
			f.Fatalf("answered with offset %d, want %d", got, want)
		}
	}
}

func keepsLogsApart(f *fixture) {
	var logs []*log
	for _, name := range []string{"a", "b"} {
		logs = append(logs, f.create(name, 3).logs...)
	}
	for i := range 120 {
		logs[i*i%len(logs)].append(f.Batch(i%4+1, 80))
	}
	f.check()
}
