package commitlog_test

import (
	"log/slog"
	"sync"
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

// A stalled file system holds up the n-th call from arm on that opens a file, reads it or asks
// for its size, and all such calls behind it unless alone is set, until it is released.
type stalled struct {
	*crashfs.FS
	alone   bool
	mu      sync.Mutex // guards what follows
	left    int        // calls before the one that is held up; 0 while nothing is
	reached chan struct{}
	release chan struct{}
}

type stalledFile struct {
	vfs.File
	disk *stalled
}

// arm holds up the n-th call from now on. reached is closed when that has come.
func (d *stalled) arm(n int) (reached <-chan struct{}, release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.reached, d.release = n, make(chan struct{}), make(chan struct{})
	return d.reached, sync.OnceFunc(func() { close(d.release) })
}

// pass returns when the call may go on.
func (d *stalled) pass() {
	d.mu.Lock()
	if d.left > 1 {
		d.left--
		d.mu.Unlock()
		return
	}
	held := d.left < 0 && !d.alone
	if d.left == 1 {
		d.left, held = -1, true
		close(d.reached)
	}
	release := d.release
	d.mu.Unlock()
	if held {
		<-release
	}
}

func (d *stalled) Open(name string) (vfs.File, error) {
	d.pass()
	f, err := d.FS.Open(name)
	return stalledFile{f, d}, err
}

func (d *stalled) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return stalledFile{f, d}, err
}

func (f stalledFile) ReadAt(p []byte, pos int64) (int, error) {
	f.disk.pass()
	return f.File.ReadAt(p, pos)
}

func (f stalledFile) Size() (int64, error) {
	f.disk.pass()
	return f.File.Size()
}

// stall opens the rig's log, of five segments, on a disk that can be stalled, before anything
// has been read. It appends, so that the active segment's files are open, unless the log is to be cold:
// then an append opens them, and reads the last block, in calls of its own.
func (r *rig) stall(cold bool, damage func(disk *crashfs.FS)) *stalled {
	r.fill(18)
	if err := r.store.Close(); err != nil {
		r.Fatal(err)
	}
	disk := &stalled{FS: r.disk.KillClone(), alone: cold}
	if damage != nil {
		damage(disk.FS)
	}
	r.log, r.disk, r.options.FS, r.options.Log = new(recorder), disk.FS, disk, slog.New(r.log)
	s, err := commitlog.Open("/data", r.options)
	if err != nil {
		r.Fatal(err)
	}
	r.store = s
	r.connect()
	if !cold {
		r.fill(1)
	}
	return disk
}

// A read, however long the disk takes for it, keeps no other client from publishing, nor from
// beginning a new segment.
func TestAStalledReadHoldsUpNoAppend(t *testing.T) {
	at := func(i int) func(*rig) int64 {
		return func(r *rig) int64 { return r.stored[(len(r.stored)+i)%len(r.stored)].Base }
	}
	read := func(offset func(*rig) int64) func(*rig) error {
		return func(r *rig) error {
			var c store.Chunk
			defer c.Release()
			if err := r.Read(offset(r), 1, &c); err != nil {
				return err
			}
			_, err := c.Load(nil)
			return err
		}
	}
	retain := func(how store.Retention) func(*rig) error {
		return func(r *rig) error {
			_, err := r.Retain(how)
			return err
		}
	}
	for _, c := range []struct {
		name   string
		reads  func(*rig) error
		damage func(*crashfs.FS)
	}{
		{"the first batch", read(at(0)), nil},
		{"a batch within a segment", read(at(5)), nil},
		{"a batch of the active segment", read(at(-3)), nil},
		{"the active segment, whose index is damaged", read(at(-3)), func(disk *crashfs.FS) {
			names := files(t, disk, ".index")
			name := names[len(names)-1]
			p := readFile(t, disk, name)
			p[len(p)-1] ^= 1
			writeFile(t, disk, name, p)
		}},
		{"a time in the active segment", func(r *rig) error {
			_, err := r.OffsetForTime(batchtest.FirstTime + 54)
			return err
		}, nil},
		{"a time in the first segment", func(r *rig) error {
			_, err := r.OffsetForTime(batchtest.FirstTime + 2)
			return err
		}, nil},
		{"the last bytes", func(r *rig) error { _, err := r.Tail(800); return err }, nil},
		{"the last segments", func(r *rig) error { _, err := r.Tail(5000); return err }, nil},
		{"the size", func(r *rig) error { r.Size(); return nil }, nil},
		{"retention by size", retain(store.Retention{Bytes: 4000}), nil},
		{"retention by age", retain(store.Retention{Before: batchtest.FirstTime + 20, Keep: 1 << 40}), nil},
	} {
		for name, cold := range map[string]bool{"": false, ", while the log's files are closed": true} {
			if !t.Run(c.name+name, func(t *testing.T) {
				for n, held := 1, true; held; n++ {
					r := newRig(t, smallSegments())
					held = r.appendsWhile(r.stall(cold, c.damage), n, c.reads)
					r.store.Close()
					if !held && n == 1 {
						t.Error("it reads nothing")
					}
				}
			}) {
				return // the others would wait as long
			}
		}
	}
}

// appendsWhile appends while what reads is held up at its n-th call. It says whether it came
// to that.
func (r *rig) appendsWhile(disk *stalled, n int, reads func(*rig) error) (held bool) {
	r.Helper()
	reached, release := disk.arm(n)
	defer release()
	stored := r.stored
	ended := make(chan error, 1)
	go func() {
		ended <- reads(&rig{T: r.T, Partition: r.Partition, stored: stored})
	}()
	select {
	case <-reached:
		held = true
		r.appendsAtOnce(6)
		release()
	case err := <-ended:
		ended <- err
	}
	if err := wait(r.T, ended, "the end of a read"); err != nil {
		r.Errorf("held up at call %d: %v", n, err)
	}
	disk.arm(0)
	return held
}

// appendsAtOnce appends, and fails where nothing answers.
func (r *rig) appendsAtOnce(batches int) {
	r.Helper()
	appended := make(chan error, 1)
	go func() {
		for range batches {
			if _, err := store.AppendAndWait(r, r.Batch(3, 200)); err != nil {
				appended <- err
				return
			}
		}
		appended <- nil
	}()
	if err := wait(r.T, appended, "the answer to an append while a read is held up"); err != nil {
		r.Fatal(err)
	}
}
