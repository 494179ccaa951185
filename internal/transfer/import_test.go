package transfer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// A failing store fails with err at each change but the first ones.
type failing struct {
	store.Restorer
	left atomic.Int64 // changes before the failure
	err  error
}

func (f *failing) fails() error {
	if f.left.Add(-1) < 0 {
		return f.err
	}
	return nil
}

func (f *failing) Restore(t store.Topic, firsts []int64) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Restorer.Restore(t, firsts)
}

func (f *failing) KeepNote(p []byte) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Restorer.KeepNote(p)
}

func (f *failing) Partition(topic string, number int) (store.Partition, error) {
	p, err := f.Restorer.Partition(topic, number)
	return &failingLog{p, f}, err
}

type failingLog struct {
	store.Partition
	of *failing
}

func (p *failingLog) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	if err := p.of.fails(); err != nil {
		return store.Lead{}, err
	}
	return p.Partition.Write(batches, done)
}

func (p *failingLog) Trim(before int64) error {
	if err := p.of.fails(); err != nil {
		return err
	}
	return p.Partition.Trim(before)
}

// onDisk is a cluster whose store is a directory. fail gives the changes that go well with the owner that comes next, and
// the error of the next one; nil for no error.
func onDisk(t *testing.T, fail func() (int, error)) (c *aloneCluster, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	return &aloneCluster{own: func(context.Context) (store.Restorer, error) {
		s, err := commitlog.Open(dir, commitlog.Options{SyncEvery: time.Minute}) // to be fast
		if err != nil {
			return nil, err
		}
		f := &failing{Restorer: s}
		n := 0
		if n, f.err = fail(); f.err == nil {
			return s, nil
		}
		f.left.Store(int64(n))
		return f, nil
	}}, dir
}

func never() (int, error) { return 0, nil }

// small is a data directory with some topics, of which one is trimmed within a batch and one is empty behind its beginning.
func small(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "from")
	s, err := commitlog.Open(dir, commitlog.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := batchtest.NewMaker(0)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.CreateTopic(name, 3, ""); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			p, err := s.Partition(name, i)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 * i {
				if _, err := store.AppendAndWait(p, m.Batch(10, 60_000)); err != nil {
					t.Fatal(err)
				}
			}
			if before := map[string]int64{"b": 5, "c": int64(20 * i)}[name]; before > 0 && i > 0 {
				if err := p.Trim(before); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := errors.Join(s.KeepNote([]byte("a note")), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An import that ends at any change goes on there: within the same process if another node has owned the topics, else with the
// next start.
func TestImportGoesOnWhereItHasEnded(t *testing.T) {
	from := small(t)
	want := look(t, from)
	broken, step := errors.New("the process ends here"), 1
	if testing.Short() {
		step = 5
	}
	for _, err := range []error{store.ErrMoved, broken} {
		reached := false
		for changes := 0; !reached; changes += step {
			lives := 0
			c, dir := onDisk(t, func() (int, error) {
				if lives++; lives > 1 {
					return 0, nil
				}
				return changes, err
			})
			failed := Import(t.Context(), c, 1, from, quiet)
			reached = lives == 1 && failed == nil // that many changes are enough
			if err == broken && !reached {
				if !errors.Is(failed, broken) || !errors.Is(MayServe(t.Context(), c), ErrImporting) {
					t.Fatalf("after %d changes: %v, and then it is %v", changes, failed, MayServe(t.Context(), c))
				}
				failed = Import(t.Context(), c, 1, from, quiet)
			}
			if failed != nil || MayServe(t.Context(), c) != nil {
				t.Fatalf("after %d changes and %v: %v", changes, err, failed)
			}
			if got := look(t, dir); got.Sum() != want.Sum() || string(got.Note) != "a note" {
				t.Fatalf("after %d changes and %v there is\n%+v, not\n%+v", changes, err, got, want)
			}
			if changes > 1000 {
				t.Fatal("there is no end")
			}
		}
	}
}

func TestImportIsDoneOnce(t *testing.T) {
	from := small(t)
	c, dir := onDisk(t, never)
	if err := Import(t.Context(), c, 1, from, quiet); err != nil {
		t.Fatal(err)
	}
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DeleteTopic("a"), s.Close()); err != nil { // as users may
		t.Fatal(err)
	}
	owned := c.owned
	if err := errors.Join(Import(t.Context(), c, 1, from, quiet), os.RemoveAll(from), Import(t.Context(), c, 1, from, quiet)); err != nil {
		t.Error(err)
	}
	if c.owned != owned {
		t.Error("the topics are owned again")
	}
}

func TestImportIsRefused(t *testing.T) {
	refused := func(c *aloneCluster, from string, words ...string) {
		t.Helper()
		err := Import(t.Context(), c, 1, from, quiet)
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v, not %q", err, w)
			}
		}
	}
	from := small(t)
	c, dir := onDisk(t, never)
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused(c, from, "the cluster is not new", `"orders"`)
	if err := MayServe(t.Context(), c); err != nil {
		t.Errorf("then it is %v", err)
	}

	c, _ = onDisk(t, never)
	refused(c, filepath.Join(from, "none"), "no such file")
	held, err := commitlog.Open(from, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refused(c, from, "in use")
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(from, "topics", "b", "2"))
	refused(c, from, "is damaged in 1 places", "broker -verify", `topic="b" partition=2`)
	refused(&aloneCluster{}, from, "damaged")
	if c.owned > 0 {
		t.Error("the topics are owned for what can't be imported")
	}
	c.largest = 1000
	refused(c, small(t), "takes 1000 bytes at most")
}

// damage changes a byte in the middle of the first segment of a log.
func damage(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatal(err, names)
	}
	p, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	p[len(p)/2]++
	if err := os.WriteFile(names[0], p, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The import of one directory does not go on with another one, or with the same one after a change.
func TestImportGoesOnWithTheSameDirectoryOnly(t *testing.T) {
	from := small(t)
	c, _ := onDisk(t, func() (int, error) { return 4, errors.New("the process ends here") })
	if err := Import(t.Context(), c, 1, from, quiet); err == nil {
		t.Fatal("it did not fail")
	}
	other := small(t)
	if err := Import(t.Context(), c, 1, other, quiet); err == nil || !strings.Contains(err.Error(), "was begun") {
		t.Errorf("another directory: %v", err)
	}
	s, err := commitlog.Open(from, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Partition("a", 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.AppendAndWait(p, batchtest.NewMaker(0).Batch(1, 1))
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Import(t.Context(), c, 1, from, quiet); err == nil || !strings.Contains(err.Error(), "was begun") {
		t.Errorf("a directory that has been used: %v", err)
	}
}
