package commitlog

import (
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// A segment may have 256 MiB, all of which is read for that.
func TestAnIndexThatManyReadersFindUnreadableIsBuiltAgainOnce(t *testing.T) {
	var log strings.Builder
	disk := &crashfs.Worn{FS: crashfs.New()}
	s, err := Open("/data", Options{FS: disk, Log: slog.New(slog.NewTextHandler(&log, nil))})
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
	l.indexInterval = 1
	var m batchtest.Maker
	for range 2 * maxRecent {
		if _, err := store.AppendAndWait(p, m.Batch(1, 10)); err != nil {
			t.Fatal(err)
		}
	}
	active, _ := l.commits.end()
	v := l.visible.activeView()
	if err := active.load(v); err != nil {
		t.Fatal(err)
	}
	const readers = 4
	disk.Break(crashfs.Patch{Suffix: ".index", To: math.MaxInt64})
	active.loadMu.Lock()
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			if e, err := active.floor(v, func(e entry) bool { return e.offset > 1 }); err != nil || e.offset != 1 {
				t.Errorf("offset 1 is sought from offset %d, %v", e.offset, err)
			}
		})
	}
	for disk.Failed.Load() < readers {
		runtime.Gosched()
	}
	active.loadMu.Unlock()
	all.Wait()
	if n := strings.Count(log.String(), "building an index again"); n != 1 {
		t.Errorf("%d readers built the index again, want one", n)
	}
}
