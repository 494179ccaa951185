// Package commitlog is the store on disk: for each partition a directory of
// segments with an index each. It is the only package that touches the data
// directory, and it owns durability: what is synced when, what a crash can
// leave behind and how that is put right. FORMAT.md draws the files.
package commitlog

import (
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
)

// Names in the data directory.
const (
	formatName = "format"
	lockName   = "lock"
	topicsName = "topics"
	stageName  = "tmp" // topics being made, altered or deleted; emptied at start
	topicName  = "topic.json"
	format     = "mbus 2"
)

// A Store keeps its topics in one data directory.
type Store struct {
	fs      FS
	dir     string
	opts    Options
	lock    *os.File
	hot     atomic.Int64
	maxHot  int64
	reserve reserve
	syncs   chan struct{} // full: as many syncs run as may
	marks   marks
	now     func() time.Time

	adminMu sync.Mutex // one topic is made, altered or deleted at a time
	epochs  int32      // no epoch given so far is as high; guarded by adminMu

	mu     sync.RWMutex // guards what follows
	topics map[string]*topic
	closed bool
}

type topic struct {
	store.Topic
	partitions []*partition
	unsure     bool // what topic.json holds after a crash; guarded by adminMu
}

var _ store.Store = (*Store)(nil)

// Open opens the data directory dir, making it if it is not there, and recovers
// what a crash has left. It fails if another process has it open, if it is not a
// data directory, or if a file can't be read; it does not fail for damage in
// stored messages.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{fs: o.FS, dir: dir, opts: o, topics: make(map[string]*topic), maxHot: maxHot(), syncs: make(chan struct{}, maxSyncs), marks: marks{every: marksEvery}, now: time.Now}
	if s.opts.SegmentBytes <= 0 {
		s.opts.SegmentBytes = DefaultSegmentBytes
	}
	if s.opts.Log == nil {
		s.opts.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.fs == nil {
		s.fs = osFS{}
		s.lock, err = lockDir(dir)
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
	if err := s.makeDir(topicsName); err != nil {
		return err
	}
	// A topic may have been moved to its place, or from there to be deleted, and
	// not been synced there.
	if err := s.fs.SyncDir(s.path(topicsName)); err != nil {
		return err
	}
	if err := s.syncAltered(); err != nil {
		return err
	}
	if err := removeAll(s.fs, s.path(stageName)); err != nil {
		return err
	}
	if err := s.makeDir(stageName); err != nil {
		return err
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	entries, err := s.fs.ReadDir(s.path(topicsName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Dir {
			t, err := s.openTopic(e.Name)
			if err != nil {
				return err
			}
			s.topics[e.Name] = t
			s.epochs = max(s.epochs, t.EpochsEnd())
		}
	}
	return nil
}

func (s *Store) makeDir(names ...string) error {
	err := s.fs.Mkdir(s.path(names...))
	if isExist(err) {
		return nil
	}
	return err
}

// checkFormat makes a data directory of an empty one, and refuses one that holds
// something else.
func (s *Store) checkFormat() error {
	if err := s.fs.Mkdir(s.dir); err != nil && !isExist(err) {
		return err
	}
	content, err := s.readFile(formatName)
	if err == nil {
		if err := knownFormat(content); err != nil {
			return err
		}
		return s.fs.SyncDir(s.dir) // before there is anything else in it
	}
	if !isNotExist(err) {
		return err
	}
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name != lockName && e.Name != formatName+".tmp" {
			return fmt.Errorf("it holds %q and no file %q: this is not an mbus data directory", e.Name, formatName)
		}
	}
	if err := s.fs.SyncDir(filepath.Dir(filepath.Clean(s.dir))); err != nil {
		return err
	}
	return writeFile(s.fs, s.path(formatName), []byte(format))
}

// knownFormat checks what the file of that name holds.
func knownFormat(content []byte) error {
	if got := strings.TrimSpace(string(content)); got != format {
		return fmt.Errorf("its format is %q, this program knows %q: CHANGELOG.md says under Upgrading what to do", got, format)
	}
	return nil
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
		syncEvery: s.opts.SyncEvery, hot: &s.hot, space: &s.reserve, maxHot: s.maxHot, syncs: s.syncs, marks: &s.marks,
		now: func() time.Time { return s.now() },
	}
	l.quiet.L = &l.mu
	return l
}

// Deleted implements store.Store.
func (s *Store) Deleted(id [16]byte) bool { return true }

// UseClock implements store.Store.
func (s *Store) UseClock(now func() time.Time) { s.now = now }

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
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.topics[topic]
	switch {
	case s.closed:
		return nil, store.ErrClosed
	case t == nil || number < 0 || number >= t.Partitions:
		return nil, store.ErrUnknownTopic
	}
	return t.partitions[number], nil
}

// CreateTopic implements store.Store. The topic is made beside the others and
// moved to its place complete, so that a crash leaves all of it or nothing.
func (s *Store) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if filepath.Base(name) != name || !filepath.IsLocal(name) || name == "." || partitions < 1 {
		return store.Topic{}, fmt.Errorf("no topic %q of %d partitions can be made", name, partitions)
	}
	s.adminMu.Lock()
	defer s.adminMu.Unlock()
	s.mu.RLock()
	exists, closed := s.topics[name] != nil, s.closed
	s.mu.RUnlock()
	if closed {
		return store.Topic{}, store.ErrClosed
	}
	if exists {
		return store.Topic{}, store.ErrTopicExists
	}
	s.epochs = nextEpoch(s.epochs, time.Now())
	t := &topic{Topic: store.Topic{Name: name, ID: newID(), Partitions: partitions, Epoch: s.epochs, Config: config}}
	s.epochs += int32(partitions)
	stage := s.path(stageName, name)
	if err := s.stage(stage, t); err != nil {
		_ = removeAll(s.fs, stage) // or at the next start
		return store.Topic{}, noRoom(err)
	}
	if err := s.moveIn(stage, name); err != nil {
		return store.Topic{}, noRoom(err)
	}
	if err := s.admit(name); err != nil {
		return store.Topic{}, err
	}
	return t.Topic, nil
}

// stage makes a topic's directory, durable but for its own name.
func (s *Store) stage(dir string, t *topic) error {
	if err := removeAll(s.fs, dir); err != nil { // of an attempt that failed
		return err
	}
	if err := s.fs.Mkdir(dir); err != nil {
		return err
	}
	for i := range t.Partitions {
		l := s.newPartition(t.Topic, i)
		l.dir = filepath.Join(dir, strconv.Itoa(i))
		if err := s.fs.Mkdir(l.dir); err != nil {
			return err
		}
		if err := l.begin(0); err != nil {
			return err
		}
	}
	content, err := encodeTopic(t.Topic)
	if err != nil {
		return err
	}
	return writeFile(s.fs, filepath.Join(dir, topicName), content)
}

// moveIn moves a staged topic to its place, durably. What stands there already was
// left by an attempt to make it, or to delete it, that failed in the end.
func (s *Store) moveIn(stage, name string) error {
	place := s.path(topicsName, name)
	err := s.fs.Rename(stage, place)
	if isExist(err) {
		grave := s.path(stageName, formatID(newID()))
		if err = s.fs.Rename(place, grave); err == nil {
			err = s.forget(grave)
		}
		if err == nil {
			err = s.fs.Rename(stage, place)
		}
	}
	if err != nil {
		return err
	}
	return s.fs.SyncDir(s.path(topicsName))
}

// forget deletes a topic that has been moved away, once that is durable.
func (s *Store) forget(grave string) error {
	if err := s.fs.SyncDir(s.path(topicsName)); err != nil {
		return err
	}
	return removeAll(s.fs, grave)
}

// DeleteTopic implements store.Store. Moving the directory away is what deletes
// the topic; the space is freed after that, at the next start at the latest.
func (s *Store) DeleteTopic(name string) error {
	s.adminMu.Lock()
	defer s.adminMu.Unlock()
	s.mu.Lock()
	t, closed := s.topics[name], s.closed
	if !closed {
		delete(s.topics, name)
	}
	s.mu.Unlock()
	switch {
	case closed:
		return store.ErrClosed
	case t == nil:
		return store.ErrUnknownTopic
	}
	for _, l := range t.partitions {
		_ = l.close() // what can't be synced is deleted all the same
	}
	grave := s.path(stageName, formatID(t.ID))
	if err := s.fs.Rename(s.path(topicsName, name), grave); err != nil {
		return errors.Join(noRoom(err), s.admit(name))
	}
	return s.forget(grave)
}

// admit opens a topic that is in its place and puts it on the list.
func (s *Store) admit(name string) error {
	t, err := s.openTopic(name)
	if err != nil {
		return err
	}
	s.put(t)
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.adminMu.Lock()
	defer s.adminMu.Unlock()
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
	s.marks.close()
	s.unlock()
	return errors.Join(errs...)
}
