package commitlog

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// journalFiles are the two files of a journal. Rounds go into the current one. When it is full, the
// other one becomes current, and a checkpoint syncs the segments that have frames in the full one,
// which is used again after that. Until a file is free, logs sync their segments themselves: a
// checkpoint stops no publisher.
type journalFiles struct {
	dir  *dataDir
	log  *slog.Logger
	size int64 // of each file in bytes; 0 if there is no journal
	room *reserve

	task sync.Mutex // held while files are made, checkpointed or removed

	mu         sync.Mutex // guards what follows
	current    *journalFile
	free       *journalFile
	full       *journalFile   // its checkpoint is not complete
	broken     []*journalFile // may not be written to, or a start has left them: no frames are needed after a checkpoint
	generation uint64         // the highest of any file
	working    bool           // a task is under way, or waits for its time
	pause      time.Duration  // between the last failure and the next attempt
	notBefore  time.Time      // when files may be made
	closed     bool
	tasks      sync.WaitGroup // with the round
}

const (
	// roundMost bounds the frame of one log, in bytes, with its header. Logs with more sync their segments.
	roundMost = frameHeader + largeSyncBytes + frameAlign + roundAlign

	// checkpointSyncs is the number of segments that a checkpoint syncs at a time: few, so that rounds
	// have the disk.
	checkpointSyncs = 4

	// checkpointPause is the most that a checkpoint pauses before a sync.
	checkpointPause = 10 * time.Millisecond

	// A failed attempt to make the files, or to complete a checkpoint, is tried again after
	// journalPause, and then after up to journalPauseMost.
	journalPause     = time.Second
	journalPauseMost = time.Minute
)

// heal heals logs that have failed, because a checkpoint waits for them: nothing may be appended to
// them that would.
func (f *journalFiles) heal() {
	f.task.Lock()
	f.mu.Lock()
	files := append(slices.Clone(f.broken), f.full)
	f.mu.Unlock()
	var logs []*committer
	for _, file := range files {
		if file != nil {
			logs = slices.AppendSeq(logs, maps.Keys(file.ends))
		}
	}
	f.task.Unlock()
	for _, c := range logs {
		c.log.appends.healIfDue()
	}
}

// forRound returns a file with space for a round, or nil if there is none now. close waits until the
// caller calls done.
func (f *journalFiles) forRound() (file *journalFile, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.hasSpace() {
		return nil, nil
	}
	f.tasks.Add(1)
	return f.current, f.tasks.Done
}

// hasSpace says whether the current file has space for a round. If it has none, the free file becomes the
// current one. The caller holds mu.
func (f *journalFiles) hasSpace() bool {
	switch {
	case f.closed || len(f.broken) > 0:
		return false
	case f.current == nil:
		if time.Now().After(f.notBefore) {
			f.begin(f.make)
		}
		return false
	case f.current.left() >= roundMost:
		return true
	case f.free == nil:
		return false
	}
	f.full, f.current, f.free = f.current, f.free, nil
	f.current.round = f.full.round // so that a reader knows which rounds are missing
	f.begin(f.checkpoint)
	return true
}

// begin runs a task in the background, unless one is under way. A task that fails is run again later.
// The caller holds mu.
func (f *journalFiles) begin(task func() error) {
	if f.working || f.closed {
		return
	}
	f.working = true
	f.tasks.Go(func() { f.run(task) })
}

func (f *journalFiles) run(task func() error) {
	defer fatal()
	f.task.Lock()
	err := task()
	f.task.Unlock()
	if err != nil {
		f.heal()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.working = false
	if err == nil {
		f.pause = 0
		f.goOn()
		return
	}
	f.pause = min(max(2*f.pause, journalPause), journalPauseMost)
	f.notBefore = time.Now().Add(f.pause)
	time.AfterFunc(f.pause, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.goOn()
	})
}

// goOn begins the next task, if there is one to do. The caller holds mu.
func (f *journalFiles) goOn() {
	switch {
	case len(f.broken) > 0:
		f.begin(f.remove)
	case f.full != nil:
		f.begin(f.checkpoint)
	}
}

// resume begins the checkpoint of the files that a start has left.
func (f *journalFiles) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.goOn()
}

// failed notes that a round could not be written. The system may have dropped its pages, so the file is
// not written to again. The frames of earlier rounds stay until the segments are synced.
func (f *journalFiles) failed(err error) {
	f.log.Error("the journal can't be written: each topic is synced by itself, which is slower, until the journal could be made again; look at the disk",
		"directory", f.dir.path(journalDir), "reason", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range []*journalFile{f.full, f.current, f.free} {
		if file != nil {
			f.broken = append(f.broken, file)
		}
	}
	f.full, f.current, f.free = nil, nil, nil
	f.goOn()
}

// isSound returns an error while a broken file may have frames that were refused. It tries to remove
// that file before. A log must not use the positions of such frames again.
func (f *journalFiles) isSound() error {
	f.mu.Lock()
	sound := len(f.broken) == 0
	f.mu.Unlock()
	if sound {
		return nil
	}
	f.task.Lock()
	defer f.task.Unlock()
	return f.remove()
}

// remove removes the broken files after a checkpoint of them, or empties them.
func (f *journalFiles) remove() error {
	f.mu.Lock()
	broken := f.broken
	f.mu.Unlock()
	for _, file := range broken {
		if err := file.syncSegments(f.keepPace); err != nil {
			return err
		}
	}
	if len(broken) == 0 {
		return nil
	}
	_ = f.dir.setFormat(false) // or a start after a crash says that they are missing
	for _, file := range broken {
		if file.file == nil && f.renew(file) == nil {
			continue // make uses it again
		}
		if err := f.dir.fs.Remove(f.path(file.name)); err != nil && !isNotExist(err) {
			if f.isFirst() {
				f.log.Warn("a file of the journal can't be removed: until it can, topics are synced by themselves, which is slower; look at the disk",
					"file", f.path(file.name), "reason", err)
			}
			return err
		}
	}
	if err := f.dir.fs.SyncDir(f.dir.path(journalDir)); err != nil {
		return err
	}
	closeAll(broken)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = nil
	return nil
}

// checkpoint syncs all segments with frames in the full file, which is free then.
func (f *journalFiles) checkpoint() error {
	f.mu.Lock()
	full := f.full
	f.mu.Unlock()
	if full == nil {
		return nil
	}
	if err := full.syncSegments(f.keepPace); err != nil {
		return err
	}
	if err := f.renew(full); err != nil {
		f.log.Warn("a file of the journal can't be renamed: until it can, topics are synced by themselves, which is slower; look at the disk",
			"file", f.path(full.name), "reason", err)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full == full { // it is not broken since
		f.full, f.free = nil, full
	}
	return nil
}

// keepPace pauses a checkpoint that has begun so many of its syncs. They are spread over the time in which
// the first half of the current file is filled, because many at once hold up the syncs of rounds.
func (f *journalFiles) keepPace(begun, of int) {
	for range checkpointPause / time.Millisecond {
		if !f.isEarly(begun, of) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// isEarly says whether the checkpoint is further than it has to be.
func (f *journalFiles) isEarly(begun, of int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.closed && f.current != nil && int64(begun)*f.size > 2*int64(of)*f.current.used.Load()
}

// renew makes a file empty: with another salt in its name, none of its bytes are frames.
func (f *journalFiles) renew(file *journalFile) error {
	next := f.nextName()
	if err := f.dir.fs.Rename(f.path(file.name), f.path(next)); err != nil {
		return err
	}
	file.name = next
	if err := f.dir.fs.SyncDir(f.dir.path(journalDir)); err != nil {
		return err
	}
	file.used.Store(0)
	file.round = 0
	file.ends = make(map[*committer]syncPoint)
	return nil
}

// nextName is a name that no file has had.
func (f *journalFiles) nextName() journalName {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation++
	return journalName{f.generation, rand.Uint64()}
}

func (f *journalFiles) path(n journalName) string { return f.dir.path(journalDir, n.String()) }

// make makes both files, of those that an earlier process has left, which hold nothing that is needed.
func (f *journalFiles) make() error {
	err := f.makeBoth()
	if err != nil && f.isFirst() {
		f.log.Warn("the journal can't be made: each topic is synced by itself, which is slower", "directory", f.dir.path(journalDir), "reason", err)
	}
	return err
}

// isFirst says whether the attempt before did not fail.
func (f *journalFiles) isFirst() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pause == 0
}

func (f *journalFiles) makeBoth() error {
	if err := f.dir.makeDir(journalDir); err != nil {
		return err
	}
	if err := f.dir.fs.SyncDir(f.dir.root); err != nil {
		return err
	}
	_ = f.dir.setFormat(false) // or a start after a crash says that files are missing
	left, err := f.adopt()
	if err != nil {
		return err
	}
	for len(left) < 2 {
		file, err := f.create()
		if err != nil {
			f.giveUp(left)
			return err
		}
		left = append(left, file)
	}
	err = f.dir.fs.SyncDir(f.dir.path(journalDir))
	if err == nil {
		err = f.dir.setFormat(true)
	}
	if err != nil {
		closeAll(left)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		closeAll(left)
		return nil
	}
	f.current, f.free = left[0], left[1]
	return nil
}

// giveUp removes the file that has no other one: the journal can't use it, and it takes space.
func (f *journalFiles) giveUp(left []*journalFile) {
	closeAll(left)
	for _, file := range left {
		_ = f.dir.fs.Remove(f.path(file.name)) // or the next attempt uses it
	}
}

// adopt opens and renews the files of an earlier process, two at most, and removes others.
func (f *journalFiles) adopt() (left []*journalFile, err error) {
	entries, err := f.dir.fs.ReadDir(f.dir.path(journalDir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name, ok := parseJournalName(strings.TrimSuffix(e.Name, keptSuffix)); ok {
			f.passGeneration(name.generation)
		}
	}
	for _, e := range entries {
		name, ok := parseJournalName(e.Name)
		if !ok || e.Dir {
			continue
		}
		if len(left) == 2 || e.Size != f.size {
			if err = f.dir.fs.Remove(f.path(name)); err != nil {
				break
			}
			continue
		}
		file := &journalFile{name: name, size: f.size, zero: f.size}
		if file.file, err = f.dir.fs.Open(f.path(name)); err != nil {
			break
		}
		left = append(left, file)
		if err = f.renew(file); err != nil {
			break
		}
	}
	if err != nil {
		closeAll(left)
	}
	return left, err
}

func (f *journalFiles) passGeneration(generation uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation = max(f.generation, generation)
}

// create creates a file of zeros. Its first round and each further one write more of them, because a slow
// disk would take long to write all of them, and the journal can't be used before.
func (f *journalFiles) create() (*journalFile, error) {
	if !f.room.ahead(f.size) {
		return nil, syscall.ENOSPC
	}
	file := &journalFile{name: f.nextName(), size: f.size, ends: make(map[*committer]syncPoint)}
	var err error
	if file.file, err = f.dir.fs.Create(f.path(file.name)); err != nil {
		return nil, err
	}
	if err = file.file.Allocate(0, f.size); err == nil {
		_, err = file.file.WriteAt(zeros[:roundAlign], f.size-roundAlign) // its size, where nothing can be allocated
	}
	if err == nil {
		err = file.zeroAhead()
	}
	if err == nil {
		err = file.file.Sync()
	}
	if err != nil {
		file.file.Close()
		_ = f.dir.fs.Remove(f.path(file.name)) // or the next attempt removes it
		return nil, fmt.Errorf("%s: %w", file.name, err)
	}
	return file, nil
}

// close ends all tasks and the round. If empty is set, all segments are synced, and the next start does
// not need the journal.
func (f *journalFiles) close(empty bool) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.tasks.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	closeAll(append(f.broken, f.current, f.free, f.full))
	f.broken, f.current, f.free, f.full = nil, nil, nil, nil
	if !empty {
		return nil
	}
	return f.dir.setFormat(false)
}

func closeAll(files []*journalFile) {
	for _, file := range files {
		if file != nil && file.file != nil {
			file.file.Close()
		}
	}
}
