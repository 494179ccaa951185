// Package commitlog is the store on disk: for each partition a directory of
// segments with an index each. It is the only package that touches the data
// directory, and it owns durability: what is synced when, what a crash can
// leave behind and how that is put right. FORMAT.md draws the files.
package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// Names in the data directory.
const (
	formatName = "format"
	lockName   = "lock"
	noteName   = "clock" // the broker's note; what a start needs to know of the time
	topicsName = "topics"
	stageName  = "tmp" // topics being made, altered or deleted; emptied at start
	topicName  = "topic.json"
	graveName  = "deleted" // in a topic's directory: it is being deleted where it is
	format     = "mbus 2"
)

// A Store keeps its topics in one data directory.
type Store struct {
	opts      Options
	log       *slog.Logger
	dir       *dataDir
	boot      bootFile
	catalog   *catalog
	registry  registry
	topics    topicDirs
	reserve   reserve
	files     openFiles
	syncs     chan struct{} // full: as many syncs of logs run as may
	points    recoveryPoints
	now       func() time.Time
	healAfter time.Duration // but for tests healAfter
}

var _ store.Store = (*Store)(nil)

// Open opens the data directory dir, making it if it is not there, and recovers
// what a crash has left. It fails if another process has it open, or if it is not a
// data directory; it does not fail for damage in stored messages, nor for topics that
// are damaged or missing: those can't be used.
func Open(dir string, o Options) (*Store, error) {
	s := newStore(o.FS, dir, o)
	var err error
	if s.dir.fs == nil {
		s.dir.fs = vfs.OS{Warn: s.dir.warnNoSync()}
		err = s.dir.acquire()
	}
	if err == nil {
		err = s.open()
	}
	if err != nil {
		s.dir.release()
		return nil, fmt.Errorf("data directory %q: %w", dir, err)
	}
	s.reserve.open(s.dir.fs, dir, s.opts)
	return s, nil
}

func newStore(fs vfs.FS, dir string, o Options) *Store {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		opts: o, log: o.Log, dir: &dataDir{fs: fs, root: dir, log: o.Log}, registry: newRegistry(), files: openFiles{max: maxOpen()},
		syncs: make(chan struct{}, maxSyncs), points: recoveryPoints{every: pointsEvery}, now: time.Now, healAfter: healAfter,
	}
	s.boot = bootFile{dir: s.dir, interval: o.SyncEvery > 0}
	s.catalog = newCatalog(s.dir)
	s.topics = topicDirs{
		dataDir: s.dir, catalog: s.catalog, registry: &s.registry, newPartition: s.newPartition,
		creating: make(chan struct{}, maxSyncs),
	}
	return s
}

// maxSyncs is how many partitions are synced at a time: each sync takes a thread of
// the system, of which a program may have 10,000, and a disk does not get faster
// with more of them. Those that wait meanwhile gather more to sync.
const maxSyncs = 64

// openFiles counts the partitions that have their files open.
type openFiles struct {
	count atomic.Int64
	max   int64 // with more, idle partitions close theirs
}

// tooMany says that partitions are to close their files when they are idle.
func (f *openFiles) tooMany() bool { return f.count.Load() > f.max }

// maxOpen is the number of partitions that may keep their files open while they are idle: two
// files each, which leaves half of the descriptors that the process may have.
func maxOpen() int64 {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 256
	}
	return int64(min(r.Cur, 1<<20) / 4)
}

func (s *Store) open() error {
	if err := s.dir.initialize(); err != nil {
		return err
	}
	if err := s.boot.enter(); err != nil {
		return err
	}
	if err := s.dir.makeDir(topicsName); err != nil {
		return err
	}
	// A topic may have been moved to its place, or from there to be deleted, and
	// not been synced there.
	if err := s.topics.sync(); err != nil {
		return err
	}
	if err := s.topics.syncAltered(); err != nil {
		return err
	}
	if err := s.dir.makeDir(stageName); err != nil {
		return err
	}
	if err := removeIn(s.dir.fs, s.dir.path(stageName)); err != nil { // no topic needs what is there
		s.log.Warn("what is left of topics that were deleted can't be removed", "directory", s.dir.path(stageName), "reason", err)
	}
	if err := s.dir.fs.SyncDir(s.dir.root); err != nil {
		return err
	}
	if err := s.openTopics(); err != nil {
		return err
	}
	s.boot.uncertain, s.boot.late = true, false // a topic that could not be moved away is opened again
	return s.boot.stay()
}

// Deleted implements store.Store.
func (s *Store) Deleted(id [16]byte) bool { return s.catalog.isDeleted(id) }

// UseClock implements store.Store.
func (s *Store) UseClock(now func() time.Time) { s.now = now }

// Note implements store.Store.
func (s *Store) Note() []byte {
	p, err := readHead(s.dir.fs, s.dir.path(noteName), store.MaxNote+1) // and an LF
	if err != nil {
		return nil
	}
	return bytes.TrimSuffix(p, []byte("\n"))
}

// KeepNote implements store.Store.
func (s *Store) KeepNote(p []byte) error {
	if s.registry.isClosed() {
		return store.ErrClosed
	}
	return vfs.WriteFile(s.dir.fs, s.dir.path(noteName), p)
}

// Topics implements store.Store.
func (s *Store) Topics() []store.Topic {
	var list []store.Topic
	for _, t := range s.registry.all() {
		list = append(list, t.Topic)
	}
	return list
}

// Partition implements store.Store.
func (s *Store) Partition(topic string, number int) (store.Partition, error) {
	t, err := s.registry.find(topic)
	if err != nil {
		return nil, err
	}
	if number < 0 || number >= t.Partitions {
		return nil, store.ErrUnknownTopic
	}
	return t.partitions[number], nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.registry.altering.Lock()
	defer s.registry.altering.Unlock()
	topics, ok := s.registry.close()
	if !ok {
		return nil
	}
	var errs []error
	for _, t := range topics {
		for _, l := range t.partitions {
			errs = append(errs, l.close(store.ErrClosed))
		}
	}
	err := errors.Join(errs...)
	if s.points.close() && err == nil {
		s.boot.leave()
	}
	s.dir.release()
	return err
}
