package commitlog

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A partition is one log on disk. Each part of its state has one owner with a lock of its own:
// the appender writes, the committer makes writes durable and acknowledges them, visible is the state
// that readers see, logStart moves the log start offset.
//
// Locks are taken in this order: logStart.mu, appender.mu, journalFiles.task, committer.syncing, segment.loadMu,
// index.writes, visible.mu, committer.mu; then those under which no other is taken: segmentState.mu,
// index.mu, handle.mu, verifiedRange.mu, sectors.mu, jumps.mu, recoveryPoints.mu, journal.mu, journalFiles.mu. An append takes all
// but logStart.mu and segment.loadMu. So no file is opened, read or asked for its size under one of
// these, except where appends can't go on without that: when the log's files are closed, when it has
// failed and is copied, when recovery could not finish on a full disk, and when it is closed.
type partition struct {
	settings
	topic  string
	id     [16]byte // of the topic
	number int
	epoch  leaderEpoch
	dir    string

	appends appender
	commits committer
	visible visible
	start   logStart
	point   pointState
}

// settings are the things that the partitions of a store share.
type settings struct {
	fs            vfs.FS
	log           *slog.Logger
	segmentBytes  int64
	indexInterval int64 // least distance of index entries, in bytes
	syncEvery     time.Duration
	space         *reserve
	files         *openFiles
	stats         *store.Stats
	damages       *damages
	syncs         chan struct{} // holds an element for each sync that runs
	points        *recoveryPoints
	journal       *journal
	replay        *replay // for recovery
	now           func() time.Time
	healAfter     time.Duration
	uncertain     bool // bytes that are read may not be on the disk; for recovery
	late          bool // the bytes behind the recovery point were not synced; for recovery
}

func newPartition(o settings, t store.Topic, number int, dir string) *partition {
	l := &partition{settings: o, topic: t.Name, id: t.ID, number: number, epoch: epochOf(t, number), dir: dir}
	l.appends.log, l.commits.log, l.start.log = l, l, l
	l.commits.idle.L = &l.commits.mu
	return l
}

// newPartition makes a partition of a topic in its directory, not opened yet.
func (s *Store) newPartition(t store.Topic, number int) *partition {
	return newPartition(settings{
		fs: s.dir.fs, log: s.log, segmentBytes: s.opts.SegmentBytes, indexInterval: s.opts.SegmentBytes / entriesMax,
		syncEvery: s.opts.SyncEvery, space: &s.reserve, files: &s.files, stats: s.stats, damages: &s.damages, syncs: s.syncs, points: &s.points, journal: &s.journal, replay: s.replay,
		now: func() time.Time { return s.now() }, healAfter: s.healAfter, uncertain: s.boot.uncertain, late: s.boot.late,
	}, t, number, s.dir.path(topicsName, t.Name, strconv.Itoa(number)))
}

// moved notes that the partition's directory has another name.
func (l *partition) moved(dir string) {
	l.dir = dir
	for _, s := range l.visible.segments {
		s.file.name = filepath.Join(dir, filepath.Base(s.file.name))
		s.index.file.name = filepath.Join(dir, filepath.Base(s.index.file.name))
	}
}

func (l *partition) warn(msg string, args ...any) { l.log.Warn(msg, l.with(args)...) }

func (l *partition) logError(msg string, args ...any) { l.log.Error(msg, l.with(args)...) }

// with prepends the partition to the attributes of a log line.
func (l *partition) with(args []any) []any {
	return append([]any{"topic", l.topic, "partition", l.number}, args...)
}

// Write implements store.Partition.
func (l *partition) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	return l.appends.append(batches, done)
}

// Sync implements store.Partition. Calls that come while a sync runs share the next one.
func (l *partition) Sync(done func(error)) { l.commits.request(done) }

// Offsets implements store.Partition.
func (l *partition) Offsets() (start, high int64) { return l.visible.offsets() }

// Wake implements store.Partition.
func (l *partition) Wake(offset int64, f func(store.Reason)) (cancel func()) {
	return l.visible.wake(offset, f)
}

// A logState is the state of a log at one time.
type logState struct {
	segments      []*segment
	start         int64
	high, written position
	ended         error // store.ErrDeleted or store.ErrClosed; nil while the log is in use
}

func (l *partition) state() logState {
	l.visible.mu.Lock()
	defer l.visible.mu.Unlock()
	l.commits.mu.Lock()
	defer l.commits.mu.Unlock()
	v := &l.visible
	return logState{v.segments, v.start, v.high, l.commits.written, v.ended}
}

// install makes a segment the active one, in place of another one with its base offset, if there is
// one. It ends at a position up to which it is visible and durable. The caller holds appender.mu, and
// no commit runs.
func (l *partition) install(s *segment, end position) {
	l.visible.mu.Lock()
	defer l.visible.mu.Unlock()
	l.commits.mu.Lock()
	defer l.commits.mu.Unlock()
	l.visible.install(s, end)
	l.commits.progress.install(s, end)
}

// close ends the log, with store.ErrDeleted or store.ErrClosed from then on: what was
// appended is acknowledged and synced.
func (l *partition) close(ended error) error {
	l.start.mu.Lock()
	defer l.start.mu.Unlock()
	l.appends.mu.Lock()
	defer l.appends.mu.Unlock()
	if !l.commits.close(ended) {
		return nil
	}
	wake := l.visible.close(ended)
	err := l.appends.finish()
	for _, s := range l.visible.segments {
		s.forget()
	}
	for _, f := range wake {
		f(reasonOf(ended))
	}
	return err
}
