package commitlog

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// DefaultReserve has publishers leave 64 MiB free, or a sixteenth of a file
// system that is smaller than 1 GiB: the groups' positions take 16 MiB before
// their topic is cut, and the same again while it is.
const (
	DefaultReserve = -1

	reserveBytes = 64 << 20
	reserveShare = 16
)

// lookEvery is the time after which it is measured again what is free: others
// write to the disk, too.
const lookEvery = 100 * time.Millisecond

// A spacious file system knows how much space it has, in bytes: how much of it
// is free, and how much there is in all, 0 if it can't tell.
type spacious interface {
	Space(dir string) (free, size int64, err error)
}

// A reserve is the space that publishers leave. What is beyond it they may take:
// that is counted down, and measured anew when it is used up or some time has
// passed, so that an append costs no system call and never takes much more than
// there is.
type reserve struct {
	fs    spacious // nil where nothing is kept back
	dir   string
	bytes int64 // kept back
	log   *slog.Logger

	mu   sync.Mutex // guards what follows
	left int64      // bytes
	next time.Time  // when to measure
	full bool       // publishers are refused
}

// open is for the start.
func (r *reserve) open(fs vfs.FS, dir string, o Options) {
	r.dir, r.bytes, r.log = dir, o.Reserve, o.Log
	disk, ok := fs.(spacious)
	if !ok || o.Reserve == 0 {
		return
	}
	free, size, err := disk.Space(dir)
	if err != nil || size == 0 {
		r.log.Warn("it can't be told how much space is free: publishing goes on until there is none", "reason", err)
		return
	}
	if r.bytes < 0 {
		r.bytes = min(reserveBytes, size/reserveShare)
	}
	r.fs, r.left, r.next = disk, free-r.bytes, time.Now().Add(lookEvery)
}

// Room implements store.Store.
func (s *Store) Room(n int) error { return s.reserve.take(int64(n)) }

// take takes n bytes of what is left.
func (r *reserve) take(n int64) error {
	if r.fs == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.full || n > r.left || !now.Before(r.next) {
		r.next = now.Add(lookEvery)
		r.measure(n)
	}
	if r.full {
		return fmt.Errorf("%w: %d bytes of the disk are kept free of messages", store.ErrFull, r.bytes)
	}
	r.left -= n
	return nil
}

// ahead says whether a log may allocate n bytes ahead of its end, and takes them
// of what is left: that is no reason to use up what is kept back.
func (r *reserve) ahead(n int64) bool {
	if r.fs == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if free, _, err := r.fs.Space(r.dir); err == nil {
		r.left = min(r.left, free-r.bytes)
	}
	if n > r.left {
		return false
	}
	r.left -= n
	return true
}

// fits says whether there seem to be n bytes at all, so that a write of them is worth
// trying.
func (r *reserve) fits(n int64) bool {
	if r.fs == nil {
		return true
	}
	free, _, err := r.fs.Space(r.dir)
	return err != nil || free >= n
}

// measure finds out what is left, and whether it is enough for n bytes. Once it
// was not, it takes some more to be enough again, so that few clients meet the
// edge. The caller holds mu.
func (r *reserve) measure(n int64) {
	free, _, err := r.fs.Space(r.dir)
	if err != nil {
		r.left, r.full = math.MaxInt64, false // the write will tell
		return
	}
	r.left = free - r.bytes
	need := n
	if r.full {
		need += r.bytes / 8
	}
	full := r.left < need
	switch {
	case full && !r.full:
		r.log.Warn("publishing is refused: the disk is nearly full", "free", free, "reserve", r.bytes)
	case r.full && !full:
		r.log.Info("publishing goes on: there is space again", "free", free, "reserve", r.bytes)
	}
	r.full = full
}
