package commitlog_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

// A counter is a file system that counts the calls of each kind.
type counter struct {
	*crashfs.FS
	opened func(name string) // called before a file is opened; may be nil

	mu    sync.Mutex
	calls map[string]int
}

func newCounter(disk *crashfs.FS) *counter { return &counter{FS: disk, calls: make(map[string]int)} }

func (c *counter) count(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[kind]++
}

// atMost fails the test if there were more calls of a kind.
func (c *counter) atMost(t *testing.T, kind string, limit int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[kind] > limit {
		t.Errorf("%d calls of the kind %q, %d are enough", c.calls[kind], kind, limit)
	}
}

func (c *counter) Open(name string) (vfs.File, error) {
	if c.opened != nil {
		c.opened(name)
	}
	c.count("open")
	if strings.HasSuffix(name, ".log") {
		c.count("open a segment")
	}
	f, err := c.FS.Open(name)
	return counted{f, c}, err
}

func (c *counter) Create(name string) (vfs.File, error) {
	c.count("create")
	f, err := c.FS.Create(name)
	return counted{f, c}, err
}

func (c *counter) ReadDir(name string) ([]vfs.Entry, error) {
	c.count("list")
	return c.FS.ReadDir(name)
}

func (c *counter) SyncDir(name string) error {
	c.count("sync")
	return c.FS.SyncDir(name)
}

type counted struct {
	vfs.File
	of *counter
}

func (f counted) ReadAt(p []byte, pos int64) (int, error) {
	f.of.count("read")
	return f.File.ReadAt(p, pos)
}

func (f counted) WriteAt(p []byte, pos int64) (int, error) {
	f.of.count("write")
	return f.File.WriteAt(p, pos)
}

func (f counted) Size() (int64, error) {
	f.of.count("size")
	return f.File.Size()
}

func (f counted) Sync() error {
	f.of.count("sync")
	return f.File.Sync()
}

// manyTopics is how many topics stand for thousands.
const manyTopics = 300

// withManyTopics opens a store on an empty disk with many topics of one message each.
func withManyTopics(t *testing.T, fs vfs.FS) *commitlog.Store {
	t.Helper()
	s := openOn(t, fs, nil)
	var m batchtest.Maker
	for i := range manyTopics {
		name := fmt.Sprintf("topic-%03d", i)
		if _, err := s.CreateTopic(name, 1, ""); err != nil {
			t.Fatal(err)
		}
		appendTo(t, s, name, &m)
	}
	return s
}

func appendTo(t *testing.T, s *commitlog.Store, topic string, m *batchtest.Maker) {
	t.Helper()
	p, err := s.Partition(topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	if err := store.Append(p, m.Batch(1, 100), func(_ int64, err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done, "the answer of an append"); err != nil {
		t.Fatal(err)
	}
}

func openOn(t *testing.T, fs vfs.FS, log *recorder) *commitlog.Store {
	t.Helper()
	if log == nil {
		log = new(recorder)
	}
	s, err := commitlog.Open("/data", commitlog.Options{FS: fs, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A start behind kill -9 reads little of each topic, and syncs nothing of it.
func TestAStartCostsFewCallsATopic(t *testing.T) {
	disk := crashfs.New()
	withManyTopics(t, disk)
	c := newCounter(disk.KillClone())
	openOn(t, c, nil)
	c.atMost(t, "list", 2*manyTopics+20) // the topic, and its partition
	c.atMost(t, "open", 3*manyTopics+20) // topic.json, the segment and its index
	c.atMost(t, "read", 4*manyTopics+20) // the same, and the space behind the recovery point
	c.atMost(t, "size", 2*manyTopics+20)
	for _, kind := range []string{"sync", "write", "create"} {
		c.atMost(t, kind, 20)
	}
}

// After a clean close no segment is opened, because none has bytes behind its recovery point.
func TestAStartAfterACleanCloseOpensNoSegment(t *testing.T) {
	disk := crashfs.New()
	if err := withManyTopics(t, disk).Close(); err != nil {
		t.Fatal(err)
	}
	c := newCounter(disk.KillClone())
	s := openOn(t, c, nil)
	c.atMost(t, "open a segment", 0)
	c.atMost(t, "open", 2*manyTopics+20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.atMost(t, "sync", 40) // nothing was written
}

// A pair holds the first of two callers until the second is there.
type pair struct {
	mu    sync.Mutex
	first bool
	both  chan struct{}
}

func newPair() *pair { return &pair{both: make(chan struct{})} }

// meet waits for another caller, unless two have been there.
func (p *pair) meet(t *testing.T) {
	p.mu.Lock()
	second := p.first
	p.first = true
	p.mu.Unlock()
	if second {
		p.close()
		return
	}
	select {
	case <-p.both:
	case <-time.After(patience):
		t.Error("no other call came while the first one ran")
	}
}

func (p *pair) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.both:
	default:
		close(p.both)
	}
}

// Many topics are opened side by side, and their logs closed and synced so: a disk that takes long for
// each call takes as long for several.
func TestManyTopicsAreOpenedAndClosedSideBySide(t *testing.T) {
	disk := crashfs.New()
	withManyTopics(t, disk)
	c := newCounter(disk.KillClone())
	opening := newPair()
	c.opened = func(name string) {
		if strings.HasSuffix(name, ".index") {
			opening.meet(t)
		}
	}
	s := openOn(t, c, nil)
	c.opened = nil
	var m batchtest.Maker
	for i := range manyTopics {
		appendTo(t, s, fmt.Sprintf("topic-%03d", i), &m)
	}
	logs, indexes := newPair(), newPair()
	c.SetHook(func(call crashfs.Call) error {
		switch {
		case call.Op != crashfs.Sync:
		case isLog(call):
			logs.meet(t)
		case strings.HasSuffix(call.Name, ".index"):
			indexes.meet(t)
		}
		return nil
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if boot := string(readFile(t, c.FS, "/data/boot")); !strings.Contains(boot, "closed") {
		t.Errorf("the file boot says %q: not all recovery points were synced", boot)
	}
}

// The topics that can't be used are reported in the order of their names, and stop no other.
func TestUnusableAmongManyTopicsAreReportedInOrder(t *testing.T) {
	disk := crashfs.New()
	withManyTopics(t, disk)
	disk = disk.KillClone()
	var want []string
	for i := 0; i < manyTopics; i += 7 {
		name := fmt.Sprintf("topic-%03d", i)
		dir := "/data/topics/" + name + "/0/00000000000000000000"
		for _, file := range []string{dir + ".log", dir + ".index"} {
			if err := disk.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, name)
	}
	log := new(recorder)
	s := openOn(t, disk, log)
	if got := len(s.Topics()); got != manyTopics-len(want) {
		t.Errorf("%d topics can be used, want %d", got, manyTopics-len(want))
	}
	var got []string
	for _, line := range log.logged() {
		if rest, ok := strings.CutPrefix(line, "ERROR a topic can't be used topic="); ok {
			name, _, _ := strings.Cut(rest, " ")
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("reported are %v, want %v", got, want)
	}
}
