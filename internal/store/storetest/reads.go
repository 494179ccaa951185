package storetest

import (
	"math"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

var readTests = []test{
	{"an empty log has nothing at its start", readsEmptyLog},
	{"at least one batch, however small the bound", readsAtLeastOne},
	{"whole batches within the bound", readsWithinBound},
	{"an offset in the middle of a batch gives that batch", readsMiddleOfBatch},
	{"empty at the high watermark", readsEmptyAtHigh},
	{"out of range below the start and above the high watermark", refusesOutOfRange},
	{"a chunk used again goes on as a new look-up would", reusesChunk},
	{"a chunk used again for another offset looks it up", reusesChunkElsewhere},
	{"a chunk that was cleared remembers its end", clearsChunk},
	{"a chunk at the high watermark sees what is appended later", followsWithOneChunk},
	{"load takes any buffer", loadsIntoAnyBuffer},
	{"a chunk outlives what it points at being forgotten", chunkOutlivesTrim},
	{"a released chunk is empty and may be released again", releasesTwice},
}

func readsEmptyLog(f *fixture) {
	l := f.log()
	var c store.Chunk
	defer c.Release()
	if got := l.read(0, 1000, &c); len(got) > 0 || c.Len() != 0 {
		f.Errorf("read %d batches", len(got))
	}
}

func readsAtLeastOne(f *fixture) {
	l := f.filled(20)
	var c store.Chunk
	defer c.Release()
	for _, b := range l.batches {
		for _, maxBytes := range []int{1, len(b.Bytes) - 1, len(b.Bytes)} {
			same(f.T, l.read(b.Base, maxBytes, &c), []batchtest.Stored{b})
		}
	}
}

func readsWithinBound(f *fixture) {
	l := f.log()
	for i := range 60 {
		l.append(f.Batch(i%3+1, i*13%400))
	}
	most := 0
	for i := range l.batches {
		for _, maxBytes := range []int{500, 1000, 2000, 10_000, math.MaxInt32, math.MaxInt} {
			var c store.Chunk
			got := l.read(l.batches[i].Base, maxBytes, &c)
			if len(got) == 0 || (len(got) > 1 && c.Len() > maxBytes) {
				f.Fatalf("%d batches in %d bytes, allowed are %d", len(got), c.Len(), maxBytes)
			}
			same(f.T, got, l.batches[i:i+len(got)])
			most = max(most, len(got))
			c.Release()
		}
	}
	if most < 2 {
		f.Error("never was more than one batch read at a time")
	}
}

func readsMiddleOfBatch(f *fixture) {
	l := f.filled(30)
	for _, b := range l.batches {
		for offset := b.Base; offset < b.Next; offset++ {
			l.readsAt(offset, b)
		}
	}
}

func readsEmptyAtHigh(f *fixture) {
	l := f.filled(20)
	var fresh store.Chunk
	defer fresh.Release()
	if got := l.read(l.next, 1000, &fresh); len(got) > 0 {
		f.Errorf("read %d batches at the high watermark", len(got))
	}
	var used store.Chunk
	defer used.Release()
	l.read(l.next-1, 1000, &used)
	if got := l.read(l.next, 1000, &used); len(got) > 0 || used.Len() != 0 {
		f.Errorf("read %d batches at the high watermark with a used chunk", len(got))
	}
}

func refusesOutOfRange(f *fixture) {
	l := f.filled(20)
	l.trim(33)
	for _, offset := range []int64{math.MinInt64, -1, 0, 32, l.next + 1, math.MaxInt64} {
		var c store.Chunk
		f.refuses("read", l.Read(offset, 1000, &c), store.ErrOutOfRange)
		c.Release()
	}
	l.readsAt(33, l.holding(33))
}

func reusesChunk(f *fixture) {
	l := f.filled(60)
	var used store.Chunk
	defer used.Release()
	for offset, i := int64(0), 0; offset < l.next; i++ {
		maxBytes := 1 + i*997%5000
		got := l.read(offset, maxBytes, &used)
		var fresh store.Chunk
		same(f.T, got, l.read(offset, maxBytes, &fresh))
		if used.First != fresh.First || used.Next != fresh.Next {
			f.Fatalf("used again %d to %d, new %d to %d", used.First, used.Next, fresh.First, fresh.Next)
		}
		offset = used.Next
		fresh.Release()
	}
}

func reusesChunkElsewhere(f *fixture) {
	l := f.filled(40)
	var c store.Chunk
	defer c.Release()
	for i := range int64(300) {
		offset := i * 7919 % l.next
		same(f.T, l.read(offset, 1, &c), []batchtest.Stored{l.holding(offset)})
	}
}

func clearsChunk(f *fixture) {
	l := f.filled(40)
	var c store.Chunk
	defer c.Release()
	var got []batchtest.Stored
	for c.Next < l.next {
		got = append(got, l.read(c.Next, 1500, &c)...)
		c.Clear()
		if c.Len() != 0 || len(l.load(&c)) > 0 {
			f.Fatal("a cleared chunk is not empty")
		}
	}
	same(f.T, got, l.batches)
}

func followsWithOneChunk(f *fixture) {
	l := f.log()
	var c store.Chunk
	defer c.Release()
	for i := range 30 {
		if got := l.read(l.next, 1000, &c); len(got) > 0 {
			f.Fatalf("read %d batches at the high watermark", len(got))
		}
		l.append(f.Batch(3, 50*i))
		same(f.T, l.read(l.batches[i].Base, 1, &c), l.batches[i:])
	}
}

func loadsIntoAnyBuffer(f *fixture) {
	l := f.filled(10)
	for _, buf := range [][]byte{nil, {}, make([]byte, 3), make([]byte, 100_000), make([]byte, 0, 100_000)} {
		scribble(buf)
		var c store.Chunk
		if err := l.Read(0, 2000, &c); err != nil {
			f.Fatal(err)
		}
		for range 2 { // as often as one likes
			p, err := c.Load(buf)
			if err != nil {
				f.Fatal(err)
			}
			got, err := batchtest.Split(p)
			if err != nil {
				f.Fatal(err)
			}
			same(f.T, got, l.batches[:len(got)])
			if len(p) != c.Len() {
				f.Fatalf("loaded %d bytes of %d", len(p), c.Len())
			}
		}
		c.Release()
	}
}

func chunkOutlivesTrim(f *fixture) {
	l := f.filled(40)
	var c store.Chunk
	defer c.Release()
	if err := l.Read(0, 1500, &c); err != nil {
		f.Fatal(err)
	}
	l.trim(l.next - 1)
	got := l.load(&c)
	same(f.T, got, l.batches[:len(got)])
	f.refuses("reading on", l.Read(c.Next, 1500, &c), store.ErrOutOfRange)
}

func releasesTwice(f *fixture) {
	l := f.filled(3)
	var c store.Chunk
	l.read(0, 1000, &c)
	c.Release()
	if c.Len() != 0 {
		f.Error("a released chunk is not empty")
	}
	c.Release()
	same(f.T, l.read(5, 1, &c), l.batches[1:2])
	c.Release()
	if p, err := c.Load(nil); len(p) > 0 || err != nil {
		f.Errorf("a released chunk loads %d bytes, %v", len(p), err)
	}
}
