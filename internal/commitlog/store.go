// Package commitlog is the store on disk: each partition is a directory of segments, and each
// segment has an index. Only this package touches the data directory, and it owns durability:
// when it syncs, which state a crash can leave, and how recovery repairs that. FORMAT.md
// describes the files.
package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	journalDir = "journal"
	noteName   = "clock" // the broker's note, with the time at which it last ran
	topicsName = "topics"
	stageName  = "tmp" // topics that are being created, altered or deleted; emptied at the start
	topicName  = "topic.json"
	graveName  = "deleted" // in a topic's directory that can't be moved: the topic is being deleted
	format     = "mbus 2"

	// As format, while the journal may hold messages that the segments lack. It differs from format in four
	// bits: a flipped bit does not hide the journal.
	formatJournal = "mbus J"

	// How the format of a directory begins that package jetstream has.
	formatCluster = "mbus cluster "
)

// A Store keeps its topics in one data directory.
type Store struct {
	opts      Options
	log       *slog.Logger
	dir       *dataDir
	stats     *store.Stats
	damages   damages
	boot      bootFile
	catalog   *catalog
	registry  registry
	topics    topicDirs
	reserve   reserve
	files     openFiles
	syncs     chan struct{} // full when maxSyncs partitions are being synced
	points    recoveryPoints
	journal   journal
	replay    *replay // what the journal holds that the store was opened with
	now       func() time.Time
	healAfter time.Duration // the constant, except in tests
}

var _ store.Restorer = (*Store)(nil)

// Open opens a data directory, which it creates if it does not exist, and recovers from a crash.
// It fails if another process uses the directory, or if it is something else. It does not fail
// for damaged messages; topics that are damaged or missing can't be used.
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
		stats: store.NewStats(), syncs: make(chan struct{}, maxSyncs), points: recoveryPoints{every: pointsEvery}, now: time.Now, healAfter: healAfter,
	}
	s.journal.stats, s.damages.count = s.stats, &s.stats.Damage
	s.journal.files = journalFiles{dir: s.dir, log: s.log, room: &s.reserve}
	if o.JournalBytes > 0 {
		s.journal.files.size = max(2*roundMost, min(o.JournalBytes/2, maxJournalFile)) &^ (roundAlign - 1)
	}
	s.boot = bootFile{dir: s.dir, interval: o.SyncEvery > 0}
	s.catalog = newCatalog(s.dir)
	s.topics = topicDirs{
		dataDir: s.dir, catalog: s.catalog, registry: &s.registry, newPartition: s.newPartition,
		creating: make(chan struct{}, maxSyncs), opening: make(chan struct{}, maxSyncs),
	}
	return s
}

// maxSyncs is the number of partitions that are synced at a time. Each sync blocks a thread, of
// which a program may have 10,000, and a disk does not get faster with more syncs. Partitions that
// wait meanwhile collect more appends for one sync.
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
	// The process before may have moved a topic to or from its place, and not synced it.
	if err := s.topics.sync(); err != nil {
		return err
	}
	if err := s.topics.syncAltered(); err != nil {
		return err
	}
	if err := s.dir.makeDir(stageName); err != nil {
		return err
	}
	if err := removeIn(s.dir.fs, s.dir.path(stageName)); err != nil { // nothing there is needed
		s.log.Warn("remains of deleted topics can't be removed: they take space until a start can remove them", "directory", s.dir.path(stageName), "reason", err)
	}
	if err := s.dir.fs.SyncDir(s.dir.root); err != nil {
		return err
	}
	var err error
	if s.replay, err = s.dir.readJournal(); err != nil {
		return err
	}
	s.replay.report()
	if err := s.openTopics(); err != nil {
		return err
	}
	if err := s.replayed(); err != nil {
		return err
	}
	s.boot.uncertain, s.boot.late = true, false // for topics that are opened from now on
	if err := s.boot.stay(); err != nil {
		return err
	}
	s.journal.files.resume()
	return nil
}

// Deleted implements store.Store.
func (s *Store) Deleted(id [16]byte) bool { return s.catalog.isDeleted(id) }

// Stats implements store.Store.
func (s *Store) Stats() *store.Stats { return s.stats }

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
	var logs []*partition
	for _, t := range topics {
		logs = append(logs, t.partitions...)
	}
	errs := make([]error, len(logs))
	_ = spread(len(logs), func(i int) error {
		errs[i] = logs[i].close(store.ErrClosed)
		return nil
	})
	// A log that was not put right since the start may be in memory only.
	pending := s.registry.hasUnusable() || slices.ContainsFunc(logs, func(l *partition) bool { return len(l.appends.owed) > 0 })
	err := errors.Join(errs...)
	errJournal := s.journal.files.close(err == nil)
	if err = errors.Join(err, errJournal); s.points.close() && err == nil && !pending {
		s.boot.leave()
	}
	s.dir.release()
	return err
}
