package commitlog_test

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// A measured file system has the free space that the test sets.
type measured struct {
	*crashfs.FS
	free, size, looks atomic.Int64
	err               error
}

func (m *measured) Space(string) (free, size int64, err error) {
	m.looks.Add(1)
	return m.free.Load(), m.size.Load(), m.err
}

func openMeasured(t *testing.T, free, size, reserve int64) (*measured, *commitlog.Store, *recorder) {
	t.Helper()
	disk, log := &measured{FS: crashfs.New()}, new(recorder)
	disk.free.Store(free)
	disk.size.Store(size)
	return disk, reopenMeasured(t, disk, reserve, log), log
}

func reopenMeasured(t *testing.T, disk *measured, reserve int64, log *recorder) *commitlog.Store {
	t.Helper()
	s, err := commitlog.Open("/data", commitlog.Options{FS: disk, Reserve: reserve, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustHaveSpace(t *testing.T, s *commitlog.Store, n int, want error) {
	t.Helper()
	if err := s.CheckSpace(n); !errors.Is(err, want) {
		t.Errorf("room for %d bytes: %v, not %v", n, err, want)
	}
}

func TestReserveRefusesPublishersBelowItAndTakesThemAgain(t *testing.T) {
	disk, s, log := openMeasured(t, 1000, 1<<20, 800)
	mustHaveSpace(t, s, 100, nil)
	mustHaveSpace(t, s, 100, nil)
	disk.free.Store(800)
	mustHaveSpace(t, s, 1, store.ErrFull)
	disk.free.Store(0)
	mustHaveSpace(t, s, 0, store.ErrFull)
	disk.free.Store(850)
	mustHaveSpace(t, s, 1, store.ErrFull) // publishing goes on with an eighth more
	disk.free.Store(901)
	mustHaveSpace(t, s, 1, nil)
	if n := len(log.logged()); n != 2 {
		t.Errorf("it was said %d times that publishing stops or goes on: %q", n, log.logged())
	}
}

func TestReserveIsNotOvershotBetweenTwoMeasurements(t *testing.T) {
	const size, reserve, each = 100 << 20, 1 << 20, 1000
	disk, s, _ := openMeasured(t, size, size, reserve)
	appends := 0
	for ; s.CheckSpace(each) == nil; appends++ {
		disk.free.Add(-each)
	}
	if free := disk.free.Load(); free < reserve || free > reserve+2*each {
		t.Errorf("%d bytes are left, of which %d are kept back", free, reserve)
	}
	if looks := disk.looks.Load(); looks > int64(appends)/10 {
		t.Errorf("the disk was measured %d times for %d appends", looks, appends)
	}
}

func TestReserveIsSmallOnASmallDisk(t *testing.T) {
	for _, c := range []struct{ size, reserve int64 }{{16 << 20, 1 << 20}, {1 << 30, 64 << 20}, {1 << 40, 64 << 20}} {
		disk, s, _ := openMeasured(t, c.size, c.size, commitlog.DefaultReserve)
		disk.free.Store(c.reserve + 10)
		mustHaveSpace(t, s, int(c.size), store.ErrFull) // measures
		disk.free.Store(c.reserve + c.reserve/8 + 10)
		mustHaveSpace(t, s, 10, nil)
		mustHaveSpace(t, s, int(c.reserve/8)+11, store.ErrFull)
	}
}

func TestReserveKeepsNothingBackWhereItCanNotTellOrIsNotAsked(t *testing.T) {
	_, s, _ := openMeasured(t, 0, 1<<20, 0)
	mustHaveSpace(t, s, 1, nil)
	_, s, _ = openMeasured(t, 0, 0, 1000) // a file system without a known size
	mustHaveSpace(t, s, 1, nil)
	disk, s, _ := openMeasured(t, 0, 1<<20, 1000)
	mustHaveSpace(t, s, 1, store.ErrFull)
	disk.err = errors.New("statfs: input/output error")
	mustHaveSpace(t, s, 1, nil)
	s.Close()
	mustHaveSpace(t, reopenMeasured(t, disk, 1000, new(recorder)), 1, nil)
}

// The broker's own records are appended without CheckSpace.
func TestReserveDoesNotBoundAppends(t *testing.T) {
	disk, s, _ := openMeasured(t, 1<<20, 1<<20, 1000)
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	disk.free.Store(0)
	mustHaveSpace(t, s, 1<<20+1, store.ErrFull)
	r := &rig{T: t, Partition: p}
	r.fill(1)
	r.holdsStored()
	if err := p.Trim(1); err != nil {
		t.Error(err)
	}
}

// Preallocation does not use the reserve.
func TestReserveIsNotAllocatedAhead(t *testing.T) {
	disk, s, _ := openMeasured(t, 1<<20, 1<<20, 1000)
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	var allocated atomic.Int64
	end := int64(0)
	disk.SetHook(func(c crashfs.Call) error {
		switch c.Op {
		case crashfs.Allocate:
			allocated.Store(c.Pos)
		case crashfs.WriteAt:
			if isLog(c) {
				end = c.Pos + int64(c.Len)
			}
		}
		return nil
	})
	r := &rig{T: t, Partition: p}
	r.fill(1)
	if allocated.Load() <= end {
		t.Errorf("with space %d bytes are allocated for %d", allocated.Load(), end)
	}
	disk.free.Store(1500)
	r.append(r.Batch(30, 200))
	if allocated.Load() > end {
		t.Errorf("without space %d bytes are allocated for %d", allocated.Load(), end)
	}
}

// Nobody publishes to a broker that is out of service because its disk is full.
func TestHealthMeasuresTheSpaceWithoutAnAppend(t *testing.T) {
	disk, s, _ := openMeasured(t, 1000, 1<<20, 800)
	for _, c := range []struct {
		free int64
		full bool
	}{{1000, false}, {700, true}, {850, true}, {1000, false}} { // publishing goes on with an eighth more
		disk.free.Store(c.free)
		if h := s.Health(); h.Disk.Full != c.full {
			t.Errorf("%d bytes free: %+v", c.free, h.Disk)
		}
	}
	mustHaveSpace(t, s, 1, nil)
}
