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

// DefaultReserve keeps 64 MiB free of messages, or a sixteenth of a file system below 1 GiB: the
// log of the groups' positions grows to 16 MiB before it is compacted, and needs as much again
// meanwhile.
const (
	DefaultReserve = -1

	reserveBytes = 64 << 20
	reserveShare = 16
)

// measureEvery is how long a measurement of the free space is used: other programs write to the
// disk, too.
const measureEvery = 100 * time.Millisecond

// A spaced file system knows its free space and its size, in bytes; the size is 0 if it is not
// known.
type spaced interface {
	Space(dir string) (free, size int64, err error)
}

// A reserve is the space that publishers leave free. They may use the rest, which is counted down
// and measured again when it is used up or measureEvery has passed, so that an append costs no
// system call and never uses much more than there is.
type reserve struct {
	fs    spaced // nil if nothing is reserved
	dir   string
	bytes int64 // size of the reserve
	log   *slog.Logger

	mu   sync.Mutex // guards what follows
	left int64      // bytes that publishers may use
	next time.Time  // of the next measurement
	full bool       // publishers are refused
}

// open measures the file system.
func (r *reserve) open(fs vfs.FS, dir string, o Options) {
	r.dir, r.bytes, r.log = dir, o.Reserve, o.Log
	disk, ok := fs.(spaced)
	if !ok || o.Reserve == 0 {
		return
	}
	free, size, err := disk.Space(dir)
	if err != nil || size == 0 {
		r.log.Warn("the free space of the disk can't be measured: publishing goes on until the disk is full", "directory", dir, "reason", err)
		return
	}
	if r.bytes < 0 {
		r.bytes = min(reserveBytes, size/reserveShare)
	}
	r.fs, r.left, r.next = disk, free-r.bytes, time.Now().Add(measureEvery)
}

// CheckSpace implements store.Store.
func (s *Store) CheckSpace(n int) error { return s.reserve.use(int64(n)) }

// use counts n bytes as used, or fails with ErrFull.
func (r *reserve) use(n int64) error {
	if r.fs == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.full || n > r.left || !now.Before(r.next) {
		r.next = now.Add(measureEvery)
		r.measure(n)
	}
	if r.full {
		return fmt.Errorf("%w: %d bytes of the disk are reserved for consumers", store.ErrFull, r.bytes)
	}
	r.left -= n
	return nil
}

// ahead says whether a log may allocate n bytes behind its end, and counts them as used. The
// reserve is not used for it.
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

// fits says whether n bytes are free, in the reserve or outside, so that writing them is worth a
// try.
func (r *reserve) fits(n int64) bool {
	if r.fs == nil {
		return true
	}
	free, _, err := r.fs.Space(r.dir)
	return err != nil || free >= n
}

// measure sets left, and full if that is less than n bytes. A full disk needs some more than n to
// be no longer full, so that publishing does not stop and go on with each message. The caller
// holds mu.
func (r *reserve) measure(n int64) {
	free, _, err := r.fs.Space(r.dir)
	if err != nil {
		r.left, r.full = math.MaxInt64, false // the write fails if the disk is full
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
		r.log.Warn("publishing is refused: the disk is nearly full; free space, or shorten -retention", "directory", r.dir, "free", free, "reserve", r.bytes)
	case r.full && !full:
		r.log.Info("publishing goes on: the disk has space again", "directory", r.dir, "free", free, "reserve", r.bytes)
	}
	r.full = full
}
