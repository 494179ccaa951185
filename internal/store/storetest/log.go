package storetest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// A log is a partition and the model of its contents.
type log struct {
	store.Partition
	t   *testing.T
	now func() time.Time // by the store's clock

	start   int64
	next    int64
	batches []batchtest.Stored // all ever appended
	times   []int64            // when each was appended, in milliseconds since 1970
	cut     bool               // something was forgotten: Size may be less than of all ever appended
}

// An answer is what done was called with.
type answer struct {
	base int64
	err  error
}

// append appends batches, waits until they are durable, and adds them to the
// model. It returns the first record's offset.
func (l *log) append(batches ...[]byte) int64 {
	l.t.Helper()
	p := slices.Concat(batches...)
	done := make(chan answer, 2)
	if err := store.Append(l, p, func(base int64, err error) { done <- answer{base, err} }); err != nil {
		l.t.Fatalf("append: %v", err)
	}
	a := wait(l.t, done, "done of an append")
	if a.err != nil {
		l.t.Fatalf("append was answered: %v", a.err)
	}
	l.add(p)
	return a.base
}

// add adds stamped batches to the model, which they must continue.
func (l *log) add(stamped []byte) {
	l.t.Helper()
	list, err := batchtest.Split(stamped)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, b := range list {
		if b.Base != l.next {
			l.t.Fatalf("a batch was stamped with offset %d, want %d", b.Base, l.next)
		}
		l.next = b.Next
		l.times = append(l.times, l.now().UnixMilli())
	}
	l.batches = append(l.batches, list...)
}

// visible returns the batches with a record at the start or later.
func (l *log) visible() []batchtest.Stored {
	i := slices.IndexFunc(l.batches, func(b batchtest.Stored) bool { return b.Next > l.start })
	if i < 0 {
		return nil
	}
	return l.batches[i:]
}

// holding returns the batch with an offset.
func (l *log) holding(offset int64) batchtest.Stored {
	i := slices.IndexFunc(l.batches, func(b batchtest.Stored) bool { return b.Next > offset })
	return l.batches[i]
}

// check compares the partition with the model.
func (l *log) check() {
	l.t.Helper()
	start, high := l.Offsets()
	if start != l.start || high != l.next {
		l.t.Fatalf("offsets are %d to %d, want %d to %d", start, high, l.start, l.next)
	}
	want := l.visible()
	for _, maxBytes := range []int{1, 3000, 1 << 20} {
		got, err := ReadAll(l.Partition, maxBytes)
		if err != nil {
			l.t.Fatalf("reading all, %d bytes at a time: %v", maxBytes, err)
		}
		same(l.t, got, want)
	}
	for _, b := range want {
		l.readsAt(max(l.start, b.Base), b)
		l.readsAt(b.Next-1, b)
	}
	l.checkSize()
}

// checkSize allows for bytes that were removed and not freed yet.
func (l *log) checkSize() {
	l.t.Helper()
	all, visible := sizeOf(l.batches), sizeOf(l.visible())
	if size := l.Size(); size < visible || size > all || (!l.cut && size != all) {
		l.t.Errorf("size is %d, with %d bytes visible of %d", size, visible, all)
	}
}

// readsAt looks an offset up with a new chunk.
func (l *log) readsAt(offset int64, want batchtest.Stored) {
	l.t.Helper()
	var c store.Chunk
	defer c.Release()
	same(l.t, l.read(offset, 1, &c), []batchtest.Stored{want})
}

// read reads and loads a chunk.
func (l *log) read(offset int64, maxBytes int, c *store.Chunk) []batchtest.Stored {
	l.t.Helper()
	if err := l.Read(offset, maxBytes, c); err != nil {
		l.t.Fatalf("read at %d: %v", offset, err)
	}
	return l.load(c)
}

func (l *log) load(c *store.Chunk) []batchtest.Stored {
	l.t.Helper()
	p, err := c.Load(nil)
	if err != nil {
		l.t.Fatalf("load of %d to %d: %v", c.First, c.Next, err)
	}
	if len(p) != c.Len() {
		l.t.Fatalf("loaded %d bytes of a chunk of %d", len(p), c.Len())
	}
	list, err := batchtest.Split(p)
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

// ReadAll reads everything from the start to the high watermark, in chunks of
// maxBytes, checks each batch, and returns them. A batch that does not follow
// the one before is an error.
func ReadAll(p store.Partition, maxBytes int) ([]batchtest.Stored, error) {
	return ReadWith(p.Offsets, p.Read, maxBytes)
}

// ReadWith is ReadAll with another Read.
func ReadWith(offsets func() (start, high int64), read func(offset int64, maxBytes int, c *store.Chunk) error, maxBytes int) ([]batchtest.Stored, error) {
	var c store.Chunk
	defer c.Release()
	var all []batchtest.Stored
	var buf []byte
	offset, high := offsets()
	for first := true; offset < high; first = false {
		if err := read(offset, maxBytes, &c); err != nil {
			return all, err
		}
		var err error
		if buf, err = c.Load(buf); err != nil {
			return all, err
		}
		list, err := batchtest.Split(buf)
		if err != nil {
			return all, err
		}
		if err := follows(list, &c, offset, first); err != nil {
			return all, err
		}
		all = append(all, list...)
		offset = list[len(list)-1].Next
	}
	return all, nil
}

// same compares batches byte for byte.
func same(t *testing.T, got, want []batchtest.Stored) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i].Base != want[i].Base || !bytes.Equal(got[i].Bytes, want[i].Bytes) {
			t.Fatalf("batch %d is that of offset %d with %d bytes, want that of offset %d with %d bytes", i,
				got[i].Base, len(got[i].Bytes), want[i].Base, len(want[i].Bytes))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d batches, want %d", len(got), len(want))
	}
}

func sizeOf(list []batchtest.Stored) int64 {
	var sum int64
	for _, b := range list {
		sum += int64(len(b.Bytes))
	}
	return sum
}

// patience bounds every wait for something that should happen at once.
const patience = 20 * time.Second

// wait receives, or fails the test.
func wait[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// scribble overwrites bytes, to show that nobody uses them any more.
func scribble(p []byte) {
	for i := range p {
		p[i] = 0xEE
	}
}

// header returns the batch at the beginning of p.
func header(p []byte) batch.Batch { return batch.Batch(p) }
