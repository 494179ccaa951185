package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"mbus/internal/store"
)

// A Finding is a place of a data directory that is not as it was written.
type Finding struct {
	Topic       string
	Partition   int    // -1 for the topic as a whole
	First, Next int64  // offsets that can't be read: First up to but not including Next; equal if none is lost
	File        string // empty where one is missing altogether
	Pos         int64  // where in File it begins, in bytes
	Reason      error
	Harmless    bool // left by a crash: the next start puts it right, and nothing acknowledged is lost
}

// String is the finding as one line without an LF: damage, gap (no file holds the
// offsets) or note (harmless). Names are quoted.
func (f Finding) String() string {
	kind := "damage"
	switch {
	case f.Harmless:
		kind = "note"
	case f.File == "" && f.Next > f.First:
		kind = "gap"
	}
	partition, offsets, file := "all", "none", ""
	if f.Partition >= 0 {
		partition = fmt.Sprint(f.Partition)
	}
	if f.Next > f.First {
		offsets = fmt.Sprintf("%d-%d", f.First, f.Next-1)
	}
	if f.File != "" {
		file = fmt.Sprintf(" file=%q position=%d", f.File, f.Pos)
	}
	return fmt.Sprintf("%s topic=%q partition=%s offsets=%s%s reason=%q", kind, f.Topic, partition, offsets, file, f.Reason)
}

// Verified is what Verify has read.
type Verified struct {
	Topics, Partitions int
	Records, Bytes     int64 // of batches that are sound
	Damaged            int   // findings that are not harmless
}

// Verify reads every batch of a data directory and compares it with all that is
// known of it: checksums, offsets, the partition it belongs to, the index. It
// calls found for each thing that is wrong, and changes nothing. The error says
// why the directory can't be read: nobody may have it open meanwhile. Of the
// options only FS counts.
func Verify(dir string, o Options, found func(Finding)) (Verified, error) {
	v := &verifier{found: found}
	v.store = &Store{fs: readOnly{o.FS}, dir: dir, opts: Options{SegmentBytes: DefaultSegmentBytes, Log: slog.New(slog.DiscardHandler)}}
	err := error(nil)
	if o.FS == nil {
		v.store.fs = readOnly{}
		v.store.lock, err = shareDir(dir)
	}
	defer v.store.unlock()
	if err == nil {
		err = v.run()
	}
	if err != nil {
		return v.sum, fmt.Errorf("data directory %q: %w", dir, err)
	}
	return v.sum, nil
}

// shareDir sees to it that no broker uses the directory meanwhile. There is no
// lock to take if none has ever used it.
func shareDir(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = inUse(f.Name())
	}
	f.Close()
	return nil, err
}

// A verifier goes through a data directory.
type verifier struct {
	store *Store
	found func(Finding)
	sum   Verified
}

func (v *verifier) run() error {
	content, err := v.store.readFile(formatName)
	if isNotExist(err) {
		return fmt.Errorf("it has no file %q: this is not an mbus data directory", formatName)
	}
	if err == nil {
		err = knownFormat(content)
	}
	if err != nil {
		return err
	}
	topics, err := v.store.fs.ReadDir(v.store.path(topicsName))
	if err != nil {
		return err
	}
	for _, e := range topics {
		if !e.Dir {
			continue
		}
		if err := v.topic(e.Name); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) report(f Finding) {
	if !f.Harmless {
		v.sum.Damaged++
	}
	v.found(f)
}

func (v *verifier) topic(name string) error {
	v.sum.Topics++
	t, err := v.store.readTopic(name)
	if errors.Is(err, errDamaged) || isNotExist(err) {
		v.report(Finding{Topic: name, Partition: -1, File: v.store.path(topicsName, name, topicName), Reason: err})
		return nil
	}
	if err != nil {
		return err
	}
	for i := range t.Partitions {
		v.sum.Partitions++
		if err := v.partition(v.store.newPartition(t.Topic, i)); err != nil {
			return err
		}
	}
	return nil
}

// readOnly is a file system that refuses to change anything.
type readOnly struct{ fs FS } // nil for the system's own

func (r readOnly) Open(name string) (File, error) {
	if r.fs != nil {
		return r.fs.Open(name)
	}
	return open(name, os.O_RDONLY)
}

func (r readOnly) ReadDir(name string) ([]Entry, error) {
	if r.fs != nil {
		return r.fs.ReadDir(name)
	}
	return osFS{}.ReadDir(name)
}

func (readOnly) Create(string) (File, error) { return nil, store.ErrClosed }
func (readOnly) Mkdir(string) error          { return store.ErrClosed }
func (readOnly) Rename(string, string) error { return store.ErrClosed }
func (readOnly) Remove(string) error         { return store.ErrClosed }
func (readOnly) SyncDir(string) error        { return store.ErrClosed }
