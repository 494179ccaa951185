package commitlog

import (
	"errors"

	"mbus/internal/store"
)

// Health implements store.Store.
func (s *Store) Health() store.Health {
	h := store.Health{Disk: s.dir.disk(), NotWritable: s.dir.notWritable(), Unusable: s.registry.countUnusable()}
	h.Disk.Reserve, h.Disk.Full = s.reserve.state()
	for _, t := range s.registry.all() {
		for _, l := range t.partitions {
			if err := l.commits.usable(); errors.Is(err, store.ErrFailed) {
				h.Failed++
				h.Failure = err
			}
		}
	}
	return h
}

// state returns the size of the reserve, and whether publishers are refused. It measures, because other
// programs use the disk, and because nobody publishes to a broker that was taken out of service.
func (r *reserve) state() (bytes int64, full bool) {
	if r.fs == nil {
		return 0, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.measure(1)
	return r.bytes, r.full
}

// disk measures the file system. Sizes that are not known are 0.
func (d *dataDir) disk() (disk store.Disk) {
	if fs, ok := d.fs.(spaced); ok {
		if free, size, err := fs.Space(d.root); err == nil {
			disk.Free, disk.Size = free, size
		}
	}
	return disk
}

// notWritable says why files can't be created in the data directory, without creating one.
func (d *dataDir) notWritable() error {
	if fs, ok := d.fs.(interface{ Writable(dir string) error }); ok {
		return fs.Writable(d.root)
	}
	return nil
}
