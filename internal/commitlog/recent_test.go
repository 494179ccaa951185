package commitlog

import (
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// An index of which nothing is in the file: what is found is in memory.
func indexOf(batches int64) *index {
	x := new(index)
	for i := range batches {
		x.note(position{pos: 100 * i, next: i}, 1<<30)
	}
	return x
}

func (x *index) mustFind(t *testing.T, offset, want int64) {
	t.Helper()
	e, err := x.floor(func(e entry) bool { return e.offset > offset })
	if err != nil || e.offset != want || e.pos != 100*want {
		t.Errorf("offset %d is sought from offset %d at byte %d, %v; want offset %d", offset, e.offset, e.pos, err, want)
	}
}

func TestEachOfTheLatestBatchesIsFound(t *testing.T) {
	const batches = 10*maxRecent + maxRecent/4
	x := indexOf(batches)
	for offset := int64(batches - maxRecent/2); offset < batches; offset++ {
		x.mustFind(t, offset, offset)
	}
	x.mustFind(t, batches-maxRecent-1, 0)
	x.dropRecent()
	x.mustFind(t, batches-1, 0)
}

// A log that has been idle while many others were not keeps nothing for it.
func TestAnIdleLogDoesNotRememberItsLatestBatches(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	l := p.(*partition)
	var m batchtest.Maker
	answered := make(chan error, 1)
	for range 3 {
		if err := store.Append(p, m.Batch(1, 100), func(_ int64, err error) { answered <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.visible.active().index.recent); n != 3 {
		t.Errorf("%d batches are remembered while the log is used, want 3", n)
	}
	l.appends.mu.Lock()
	_, _, _ = l.commits.whenIdle()
	l.appends.closeIdle()
	l.appends.mu.Unlock()
	if n := len(l.visible.active().index.recent); n != 0 {
		t.Errorf("%d batches are remembered by a log at rest, want none", n)
	}
	var c store.Chunk
	defer c.Release()
	if err := p.Read(1, 1, &c); err != nil || c.First != 1 || c.Next != 2 {
		t.Errorf("the log at rest gives %d to %d, %v for offset 1", c.First, c.Next, err)
	}
}
