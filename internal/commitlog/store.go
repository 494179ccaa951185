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
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	fs        vfs.FS
	dir       string
	opts      Options
	lock      *os.File
	hot       atomic.Int64
	maxHot    int64
	reserve   reserve
	syncs     chan struct{} // full: as many syncs of logs run as may
	makings   chan struct{} // full: as many syncs of topics being made run as may
	marks     marks
	noted     string // what the file "boot" holds, without LF; of Open and Close
	doubt     bool   // what is read may not be on the disk; set by Open
	late      bool   // what lies behind the sync marks was not synced before a power cut; of Open
	now       func() time.Time
	healAfter time.Duration // but for tests healAfter
	catalog   *catalog
	moves     gate // the syncs of topics/

	names   store.Names  // held by who makes, alters or deletes the topic
	altered sync.RWMutex // read by all of them; Close waits for them
	inPlace sync.Mutex   // a topic is made that can't be moved to its place

	mu       sync.RWMutex // guards what follows
	topics   map[string]*topic
	unusable map[string]*unusable
	attempts map[string][16]byte // topics in their places although making them has failed in the end
	epochs   int32               // no epoch given so far is as high
	closed   bool
}

type topic struct {
	store.Topic
	partitions []*partition
	unsure     bool // what topic.json holds after a crash; guarded by the name
}

var _ store.Store = (*Store)(nil)

// Open opens the data directory dir, making it if it is not there, and recovers
// what a crash has left. It fails if another process has it open, or if it is not a
// data directory; it does not fail for damage in stored messages, nor for topics that
// are damaged or missing: those can't be used.
func Open(dir string, o Options) (*Store, error) {
	s := newStore(o.FS, dir, o)
	var err error
	if s.fs == nil {
		s.fs = vfs.OS{Warn: s.warnNoSync()}
		err = s.lockDir()
	}
	if err == nil {
		err = s.open()
	}
	if err != nil {
		s.unlock()
		return nil, fmt.Errorf("data directory %q: %w", dir, err)
	}
	s.reserve.open(s.fs, dir, s.opts)
	return s, nil
}

func newStore(fs vfs.FS, dir string, o Options) *Store {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{
		fs: fs, dir: dir, opts: o, maxHot: maxHot(), marks: marks{every: marksEvery}, now: time.Now, healAfter: healAfter,
		syncs: make(chan struct{}, maxSyncs), makings: make(chan struct{}, maxSyncs),
		topics: make(map[string]*topic), unusable: make(map[string]*unusable), attempts: make(map[string][16]byte),
	}
}

// maxSyncs is how many partitions are synced at a time: each sync takes a thread of
// the system, of which a program may have 10,000, and a disk does not get faster
// with more of them. Those that wait meanwhile gather more to sync.
const maxSyncs = 64

// maxHot is the number of partitions that may keep their files open while they
// are idle: two files each, and half of what the process may open is left.
func maxHot() int64 {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 256
	}
	return int64(min(r.Cur, 1<<20) / 4)
}

func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

func (s *Store) open() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.enterBoot(); err != nil {
		return err
	}
	if err := s.makeDir(topicsName); err != nil {
		return err
	}
	// A topic may have been moved to its place, or from there to be deleted, and
	// not been synced there.
	if err := s.syncTopics(); err != nil {
		return err
	}
	if err := s.syncAltered(); err != nil {
		return err
	}
	if err := s.makeDir(stageName); err != nil {
		return err
	}
	if err := removeIn(s.fs, s.path(stageName)); err != nil { // no topic needs what is there
		s.opts.Log.Warn("what is left of topics that were deleted can't be removed", "directory", s.path(stageName), "reason", err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	if err := s.openTopics(); err != nil {
		return err
	}
	s.doubt, s.late = true, false // a topic that could not be moved away is opened again
	return s.stayInBoot()
}

// syncTopics makes the names in topics/ durable, as they are now.
func (s *Store) syncTopics() error {
	return s.moves.do(func() error { return s.fs.SyncDir(s.path(topicsName)) })
}

// readFile reads a small file, of at most maxTopicFile bytes.
func (s *Store) readFile(names ...string) ([]byte, error) {
	f, err := s.fs.Open(s.path(names...))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, maxTopicFile)
	n, err := f.ReadAt(p, 0)
	return p[:n], ignoreEOF(err)
}

func (s *Store) newPartition(t store.Topic, number int) *partition {
	l := &partition{
		fs: s.fs, dir: s.path(topicsName, t.Name, strconv.Itoa(number)), topic: t.Name, number: number, place: placeOf(t, number),
		log: s.opts.Log, segBytes: s.opts.SegmentBytes, interval: s.opts.SegmentBytes / entriesMax,
		syncEvery: s.opts.SyncEvery, hot: &s.hot, space: &s.reserve, maxHot: s.maxHot, syncs: s.syncs, marks: &s.marks, doubt: s.doubt, late: s.late,
		now: func() time.Time { return s.now() }, healAfter: s.healAfter,
	}
	l.quiet.L = &l.mu
	return l
}

// Deleted implements store.Store.
func (s *Store) Deleted(id [16]byte) bool { return s.catalog.isDeleted(id) }

// UseClock implements store.Store.
func (s *Store) UseClock(now func() time.Time) { s.now = now }

// Note implements store.Store.
func (s *Store) Note() []byte {
	f, err := s.fs.Open(s.path(noteName))
	if err != nil {
		return nil
	}
	defer f.Close()
	p := make([]byte, store.MaxNote+1) // and an LF
	n, err := f.ReadAt(p, 0)
	if ignoreEOF(err) != nil {
		return nil
	}
	return bytes.TrimSuffix(p[:n], []byte("\n"))
}

// KeepNote implements store.Store.
func (s *Store) KeepNote(p []byte) error {
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return store.ErrClosed
	}
	return vfs.WriteFile(s.fs, s.path(noteName), p)
}

// Topics implements store.Store.
func (s *Store) Topics() []store.Topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]store.Topic, 0, len(s.topics))
	for _, t := range s.topics {
		list = append(list, t.Topic)
	}
	slices.SortFunc(list, func(a, b store.Topic) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Partition implements store.Store.
func (s *Store) Partition(topic string, number int) (store.Partition, error) {
	t, err := s.find(topic)
	if err != nil {
		return nil, err
	}
	if number < 0 || number >= t.Partitions {
		return nil, store.ErrUnknownTopic
	}
	return t.partitions[number], nil
}

// find finds a topic. It fails with ErrClosed, ErrUnusable or ErrUnknownTopic.
func (s *Store) find(name string) (*topic, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	if t := s.topics[name]; t != nil {
		return t, nil
	}
	if u := s.unusable[name]; u != nil {
		return nil, u.err
	}
	return nil, store.ErrUnknownTopic
}

// put makes t the topic of its name.
func (s *Store) put(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[t.Name] = t
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.altered.Lock()
	defer s.altered.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	topics := s.topics
	s.mu.Unlock()
	var errs []error
	for _, t := range topics {
		for _, l := range t.partitions {
			errs = append(errs, l.close())
		}
	}
	err := errors.Join(errs...)
	if s.marks.close() && err == nil {
		s.leaveBoot()
	}
	s.unlock()
	return err
}
