package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A Finding is a part of a data directory that is not as it was written.
type Finding struct {
	Topic       string
	Partition   int    // -1 for the topic as a whole
	First, Next int64  // offsets that can't be read: First up to but not including Next; equal if none is lost
	File        string // empty where one is missing altogether
	Pos         int64  // where in File it begins, in bytes
	Reason      error
	Harmless    bool // left by a crash: the next start repairs it, and no acknowledged message is lost
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

// Verified counts what Verify has read.
type Verified struct {
	Topics, Partitions int
	Records, Bytes     int64 // of batches that are valid
	Damaged            int   // findings that are not harmless
}

// An Observer gets batches and topics from Verify, to check what only the broker knows, or to copy them.
type Observer struct {
	Topic  string                                              // whose batches Batch gets
	Batch  func(batch.Batch)                                   // each valid one, in order; it is valid until that returns
	Each   func(Stored) error                                  // each valid one of all topics; Verify fails with the error
	Topics func(all []Checked, deleted func(id [16]byte) bool) // at the end; deleted is as Store.Deleted
	Note   func([]byte)                                        // that of Store.Note
}

// A Stored batch is one that Verify has read, with a record at the log start offset or higher.
type Stored struct {
	Topic     store.Topic
	Partition int
	Batch     batch.Batch // valid until Each returns
	Appended  time.Time   // when the last batch of its segment was appended; zero if that is not known
}

// A Checked topic is one that Verify has looked at.
type Checked struct {
	store.Topic
	Starts []int64 // log start offsets, by partition
	Ends   []int64 // of its logs, by partition, math.MaxInt64 if not known; nil for one of which it is reported that it can't be used
}

// Verify reads every batch of a data directory, and checks its checksum, offsets, partition and index
// entry. It calls found with each damage, goes on behind it, and changes nothing. It fails if the
// directory can't be read, or is open in another process. Of the options it uses FS.
func Verify(dir string, o Options, found func(Finding)) (Verified, error) {
	return VerifyAnd(dir, o, Observer{}, found)
}

// VerifyAnd is Verify with an observer.
func VerifyAnd(dir string, o Options, look Observer, found func(Finding)) (Verified, error) {
	v := &verifier{found: found, look: look}
	v.store = newStore(readOnly{o.FS, &overlay{patches: make(map[string][]patch)}}, dir, Options{})
	err := error(nil)
	if o.FS == nil {
		v.store.dir.lock, err = shareDir(dir)
	}
	defer v.store.dir.release()
	if err == nil {
		err = v.run()
	}
	if err != nil {
		return v.sum, fmt.Errorf("data directory %q: %w", dir, err)
	}
	return v.sum, nil
}

// shareDir locks the directory against brokers. It does without the lock if no broker has ever used the
// directory, in a copy that belongs to another user, and on a file system without locks.
func shareDir(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if isNotExist(err) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, inUse(f.Name())
	}
	return nil, nil
}

// A verifier goes through a data directory.
type verifier struct {
	store *Store
	found func(Finding)
	sum   Verified
	look  Observer
	all   []Checked
	buf   []byte // of the batch that is looked at
	err   error  // of the observer
}

func (v *verifier) run() error {
	begun, err := v.store.dir.hasFormat()
	if errors.Is(err, errDamaged) {
		v.report(Finding{Partition: -1, File: v.store.dir.path(formatName), Reason: err})
		err = nil
	}
	if err == nil && !begun {
		if _, err = v.store.dir.fs.ReadDir(v.store.dir.root); err == nil {
			err = fmt.Errorf("it has no file %q: this is not an mbus data directory", formatName)
		}
	}
	if err != nil {
		return err
	}
	v.catalog()
	v.store.boot.read()
	if err := v.checkJournal(); err != nil {
		return err
	}
	topics, err := v.store.dir.fs.ReadDir(v.store.dir.path(topicsName))
	if ignoreNotExist(err) != nil {
		return err
	}
	there := make(map[string]bool)
	for _, e := range topics {
		there[e.Name] = e.Dir
		if !e.Dir {
			continue
		}
		if v.topic(e.Name); v.err != nil {
			return v.err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.store.catalog.made)) {
		if !there[name] {
			v.whole(name, v.store.dir.path(topicsName, name), errAbsent)
			v.all = append(v.all, Checked{Topic: store.Topic{Name: name}})
		}
	}
	v.strangers()
	if v.look.Note != nil {
		v.look.Note(v.store.Note())
	}
	if v.look.Topics != nil {
		v.look.Topics(v.all, v.store.catalog.isDeleted)
	}
	return nil
}

// catalog reads the catalog of topics.
func (v *verifier) catalog() {
	c := v.store.catalog
	_, bad, err := c.load()
	if err != nil {
		v.report(Finding{Partition: -1, File: c.name, Reason: err})
	}
	for _, b := range bad {
		reason := fmt.Errorf("line %d is damaged: a topic of which there is no directory may be forgotten", b.number)
		if b.torn {
			reason = fmt.Errorf("line %d was not written whole", b.number)
		}
		v.report(Finding{Partition: -1, File: c.name, Pos: b.pos, Reason: reason, Harmless: b.torn})
	}
}

// checkJournal reads the journal, so that the segments are checked as the next start will find them.
func (v *verifier) checkJournal() (err error) {
	v.store.replay, err = v.store.dir.readJournal()
	if err != nil {
		return err
	}
	if v.store.replay.missing {
		v.report(Finding{Partition: -1, File: v.store.dir.path(journalDir), Reason: errors.New("a file of the journal is missing: messages in it were acknowledged")})
	}
	for _, f := range v.store.replay.files {
		if f.unread != nil {
			v.report(Finding{Partition: -1, File: f.name, Reason: f.unread})
		}
		for _, d := range f.content.damage {
			v.report(Finding{Partition: -1, File: f.name, Pos: d.from, Reason: fmt.Errorf("%d bytes of the journal are damaged: messages in them were acknowledged", d.to-d.from)})
		}
		for _, d := range f.content.torn {
			v.report(Finding{Partition: -1, File: f.name, Pos: d.from, Harmless: true, Reason: errors.New("the last write to the journal is incomplete")})
		}
	}
	return nil
}

// strangers reports frames of the journal that belong to no partition.
func (v *verifier) strangers() {
	partitions := make(map[[16]byte]int)
	for _, t := range v.store.catalog.made { // perhaps without a directory
		partitions[t.ID] = t.Partitions
	}
	for _, t := range v.all {
		partitions[t.ID] = max(t.Partitions, partitions[t.ID])
	}
	for k, frames := range v.store.replay.frames {
		if int(k.number) < partitions[k.topic] || v.store.catalog.isDeleted(k.topic) {
			continue
		}
		v.report(Finding{
			Partition: int(k.number), First: frames[0].first, Next: frames[len(frames)-1].next, File: v.store.dir.path(journalDir),
			Reason: fmt.Errorf("the journal has messages of a topic or partition that is missing, id %s", formatID(k.topic)),
		})
	}
}

// whole reports that something is wrong with a topic as a whole.
func (v *verifier) whole(name, file string, reason error) {
	v.report(Finding{Topic: name, Partition: -1, File: file, Reason: reason})
}

func (v *verifier) report(f Finding) {
	if !f.Harmless {
		v.sum.Damaged++
	}
	v.found(f)
}

// topic goes through all of a topic that can be read, and reports what can't.
func (v *verifier) topic(name string) {
	if v.store.topics.isBeingDeleted(name) {
		v.report(Finding{
			Topic: name, Partition: -1, File: v.store.dir.path(topicsName, name), Harmless: true,
			Reason: errors.New("it has been deleted: the next start removes the files"),
		})
		return
	}
	t, err := v.readTopic(name)
	if errors.Is(err, errNoTopic) {
		return
	}
	v.sum.Topics++
	if err != nil {
		v.whole(name, v.store.dir.path(topicsName, name, topicName), err)
	}
	if t == nil {
		v.all = append(v.all, Checked{Topic: store.Topic{Name: name}})
		return
	}
	if v.store.catalog.isDeleted(t.ID) {
		v.report(Finding{
			Topic: name, Partition: -1, File: v.store.dir.path(topicsName, name), Harmless: true,
			Reason: errors.New("it was deleted, or was being deleted, and is there: the next start uses it again"),
		})
	}
	starts, ends := make([]int64, t.Partitions), make([]int64, t.Partitions)
	for i := range t.Partitions {
		v.sum.Partitions++
		starts[i], ends[i] = v.partition(t.Topic, v.store.newPartition(t.Topic, i))
	}
	v.all = append(v.all, Checked{t.Topic, starts, ends})
	v.beyond(t.Topic)
}

// readTopic reads what is kept of a topic beside its partitions, in the catalog if
// need be. It is nil if that can't be read, which has been reported then.
func (v *verifier) readTopic(name string) (*topic, error) {
	t, err := v.store.topics.read(name)
	if err == nil || noFiles(err) {
		return t, err
	}
	file := v.store.dir.path(topicsName, name, topicName)
	known, ok := v.store.catalog.topic(name)
	if !ok {
		reason := v.store.topics.withoutTopicFile(name, err)
		if !errors.Is(reason, errNoTopic) {
			v.whole(name, file, reason)
			return nil, nil
		}
		return nil, reason
	}
	t, reason := v.store.topics.complete(known)
	if reason != nil {
		v.whole(name, v.store.dir.path(topicsName, name), reason)
		return nil, nil
	}
	v.whole(name, file, err)
	return t, nil
}

// beyond reports partitions with messages that topic.json does not count.
func (v *verifier) beyond(t store.Topic) {
	found, err := v.store.topics.beyond(t)
	for _, n := range slices.Sorted(maps.Keys(found)) {
		v.report(Finding{
			Topic: t.Name, Partition: n, File: v.store.dir.path(topicsName, t.Name, strconv.Itoa(n)),
			Reason: fmt.Errorf("it holds messages, and the topic has %d partitions: give it %d to have them back (admin grow)", t.Partitions, n+1),
		})
	}
	if err != nil {
		v.whole(t.Name, v.store.dir.path(topicsName, t.Name), err)
	}
}
