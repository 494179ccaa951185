package commitlog_test

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// Entries that file systems, mounts and tools create by themselves are ignored: in a new directory, in
// an old one, and among the topics.
func TestWhatFileSystemsPutIntoADirectoryIsNoData(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{"lost+found/", ".snapshot/", ".zfs/", ".Trash-1000/", ".nfs000001", ".gitkeep", ".DS_Store", "._x", "aquota.user", "System Volume Information/"}
	put := func(dir string) {
		for _, name := range foreign {
			var err error
			if strings.HasSuffix(name, "/") {
				err = os.Mkdir(filepath.Join(dir, name), 0o700)
			} else {
				err = os.WriteFile(filepath.Join(dir, name), nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put(dir)
	log := new(recorder)
	s, reopen := openFor(t, dir, commitlog.Options{Log: log.logger()})
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	for _, below := range []string{"topics", "topics/orders"} {
		put(filepath.Join(dir, below))
	}
	appendThree(t, s, "orders", 0)
	hasRecords(t, reopen(), "orders", 0, 3)
	if lines := log.logged(); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
	reopen().Close()
	sum, err := commitlog.Verify(dir, commitlog.Options{}, func(f commitlog.Finding) { t.Error(f) })
	if err != nil || sum.Topics != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// A topic may have the name of such an entry.
func TestTopicWithTheNameOfSomethingForeign(t *testing.T) {
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	if _, err := s.CreateTopic(".snapshot", 1, ""); err != nil {
		t.Fatal(err)
	}
	appendThree(t, s, ".snapshot", 0)
	s.Close()
	hasRecords(t, openWith(t, disk.Crash(crashfs.Nothing()), nil), ".snapshot", 0, 3)
}

// A directory of another program is refused, and its file "lock" is not changed.
func TestRefusedDirectoryKeepsItsLock(t *testing.T) {
	for _, others := range []bool{false, true} {
		dir := t.TempDir()
		lock := filepath.Join(dir, "lock")
		if err := os.WriteFile(lock, []byte("precious\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if others {
			if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := commitlog.Open(dir, commitlog.Options{})
		content, _ := os.ReadFile(lock)
		if list, _ := os.ReadDir(dir); err == nil || string(content) != "precious\n" || len(list) > 2 {
			t.Errorf("open: %v; the lock holds %q, and there is %v", err, content, list)
		}
	}
}

// The error for a directory that -verify reads names no process, because the file "lock" holds the one
// of a broker that has ended.
func TestDirectoryThatIsReadNamesNoProcess(t *testing.T) {
	dir := t.TempDir()
	_, reopen := openFor(t, dir, commitlog.Options{})
	reopen().Close()
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	_, err = commitlog.Open(dir, commitlog.Options{})
	if err == nil || strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), "being read") {
		t.Errorf("open: %v", err)
	}
	if _, err := commitlog.Verify(dir, commitlog.Options{}, func(commitlog.Finding) {}); err != nil {
		t.Errorf("another -verify: %v", err)
	}
}

func TestVerifyOfNoDirectorySaysSo(t *testing.T) {
	_, err := commitlog.Verify(filepath.Join(t.TempDir(), "nosuch"), commitlog.Options{}, func(commitlog.Finding) {})
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("verify: %v", err)
	}
	if _, err = commitlog.Verify(t.TempDir(), commitlog.Options{}, func(commitlog.Finding) {}); err == nil || !strings.Contains(err.Error(), "not an mbus data directory") {
		t.Errorf("verify: %v", err)
	}
}

// All directories are there after a power cut, even if the process that created them was killed before
// it synced them.
func TestDirectoriesAboveAreSynced(t *testing.T) {
	const dir = "/var/lib/mbus/data"
	for n, died := int64(1), true; died; n++ {
		disk := crashfs.New()
		calls := killAt(disk, n)
		s, err := commitlog.Open(dir, commitlog.Options{FS: disk})
		if died = calls.Load() >= n; err == nil {
			s.Close()
		}
		disk = disk.KillClone()
		if s, err = commitlog.Open(dir, commitlog.Options{FS: disk}); err != nil {
			t.Fatalf("killed before call %d: %v", n, err)
		}
		if _, err := s.CreateTopic("orders", 1, ""); err != nil {
			t.Fatal(err)
		}
		appendThree(t, s, "orders", 0)
		disk = disk.Crash(crashfs.Nothing())
		s.Close()
		if s, err = commitlog.Open(dir, commitlog.Options{FS: disk}); err != nil {
			t.Fatal(err)
		}
		hasRecords(t, s, "orders", 0, 3)
		s.Close()
	}
}

// A directory that can be entered and not read is synced with its whole file system.
func TestDirectoryAboveThatCantBeReadIsSyncedWithAll(t *testing.T) {
	disk := &closedAbove{FS: crashfs.New()}
	openWith(t, disk, nil)
	if disk.all != 1 {
		t.Errorf("the file system was synced %d times", disk.all)
	}
}

type closedAbove struct {
	*crashfs.FS
	all int
}

func (d *closedAbove) SyncDir(name string) error {
	if name == "/" {
		return syscall.EACCES
	}
	return d.FS.SyncDir(name)
}

func (d *closedAbove) SyncAll(string) error {
	d.all++
	return d.FS.SyncDir("/")
}

// A folding file system ignores case, or drops dots at the end of names.
type folding struct {
	vfs.FS
	dots bool
}

// as is the name on the disk.
func (d folding) as(name string) string {
	is := "/"
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		if d.dots && part != "." {
			part = strings.TrimRight(part, ".")
		}
		list, _ := d.FS.ReadDir(is)
		for _, e := range list {
			if strings.EqualFold(e.Name, part) {
				part = e.Name
			}
		}
		is = path.Join(is, part)
	}
	return is
}

func (d folding) Open(name string) (vfs.File, error)       { return d.FS.Open(d.as(name)) }
func (d folding) Create(name string) (vfs.File, error)     { return d.FS.Create(d.as(name)) }
func (d folding) Mkdir(name string) error                  { return d.FS.Mkdir(d.as(name)) }
func (d folding) Rename(from, to string) error             { return d.FS.Rename(d.as(from), d.as(to)) }
func (d folding) Remove(name string) error                 { return d.FS.Remove(d.as(name)) }
func (d folding) SyncDir(name string) error                { return d.FS.SyncDir(d.as(name)) }
func (d folding) ReadDir(name string) ([]vfs.Entry, error) { return d.FS.ReadDir(d.as(name)) }

// If two names are the same on the disk, creating the second topic fails and removes nothing, even if
// the first attempt failed.
func TestMakingATopicRemovesNoOther(t *testing.T) {
	for name, test := range map[string]struct {
		disk  folding
		first string
		other string
		stuck bool // renames fail
	}{
		"case":            {folding{FS: crashfs.New()}, "orders", "Orders", false},
		"dot":             {folding{crashfs.New(), true}, "orders", "orders.", false},
		"dots":            {folding{crashfs.New(), true}, "orders", "Orders..", false},
		"case, no moving": {folding{FS: crashfs.New()}, "orders", "Orders", true},
		"dot, no moving":  {folding{crashfs.New(), true}, "orders", "orders.", true},
	} {
		t.Run(name, func(t *testing.T) {
			if test.stuck {
				test.disk.FS.(*crashfs.FS).SetHook(noMoves)
			}
			s := openWith(t, test.disk, nil)
			if _, err := s.CreateTopic(test.first, 1, ""); err != nil {
				t.Fatal(err)
			}
			appendThree(t, s, test.first, 0)
			for range 2 {
				if _, err := s.CreateTopic(test.other, 2, ""); err == nil || !strings.Contains(err.Error(), test.other) {
					t.Errorf("making %q: %v", test.other, err)
				}
				hasRecords(t, s, test.first, 0, 3)
				s.Close()
				log := new(recorder)
				s = openWith(t, test.disk, log)
				if lines := log.logged(); len(lines) > 0 {
					t.Errorf("logged: %q", lines)
				}
				hasRecords(t, s, test.first, 0, 3)
			}
		})
	}
}

// A name that the disk changes is refused, and leaves nothing.
func TestTopicWhoseNameIsNotKeptIsRefused(t *testing.T) {
	disk := folding{crashfs.New(), true}
	s := openWith(t, disk, nil)
	for range 2 {
		if made, err := s.CreateTopic("orders.", 1, ""); err == nil {
			t.Errorf("made %+v", made)
		}
	}
	s.Close()
	s = openWith(t, disk, nil)
	if list := s.Topics(); len(list) > 0 {
		t.Errorf("the topics are %v", list)
	}
}

// A topic that is put back while the broker runs is not removed when a topic of its name is created.
func TestTopicThatIsPutBackIsNotRemoved(t *testing.T) {
	t.Run("moved", func(t *testing.T) { putBack(t, nil) })
	t.Run("no moving", func(t *testing.T) { putBack(t, noMoves) })
}

func putBack(t *testing.T, hook crashfs.Hook) {
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	appendThree(t, s, "orders", 0)
	s.Close()
	disk = disk.KillClone()
	if err := disk.Rename(ordersDir, "/backup"); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, disk, nil)
	if err := s.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if err := disk.Rename("/backup", ordersDir); err != nil {
		t.Fatal(err)
	}
	disk.SetHook(hook)
	if _, err := s.CreateTopic("orders", 1, ""); err == nil || !strings.Contains(err.Error(), "restart the broker") {
		t.Errorf("making it: %v", err)
	}
	s.Close()
	hasRecords(t, openWith(t, disk.KillClone(), nil), "orders", 0, 3)
}

// Many goroutines create, alter and delete topics at once, also of the same names.
func TestTopicsAreMadeAndDeletedSideBySide(t *testing.T) {
	s, reopen := openFor(t, filepath.Join(t.TempDir(), "data"), commitlog.Options{})
	done := make(chan []string)
	for g := range 8 {
		go func() {
			var kept []string
			for i := range 12 {
				shared, own := "shared-"+strconv.Itoa(i%3), "own-"+strconv.Itoa(g)+"-"+strconv.Itoa(i)
				_, _ = s.CreateTopic(shared, 2, "")
				_, _ = s.AddPartitions(shared, 3)
				_ = s.DeleteTopic(shared)
				if _, err := s.CreateTopic(own, 1, ""); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					kept = append(kept, own)
				} else if err := s.DeleteTopic(own); err != nil {
					t.Error(err)
				}
			}
			done <- kept
		}()
	}
	var want []string
	for range 8 {
		want = append(want, <-done...)
	}
	for i := range 3 {
		if err := s.DeleteTopic("shared-" + strconv.Itoa(i)); err != nil && err != store.ErrUnknownTopic {
			t.Error(err)
		}
	}
	slices.Sort(want)
	for range 2 {
		var got []string
		epochs := make(map[int32]bool)
		for _, topic := range s.Topics() {
			if got = append(got, topic.Name); epochs[topic.Epoch] {
				t.Errorf("two topics have the epoch %d", topic.Epoch)
			}
			epochs[topic.Epoch] = true
		}
		if !slices.Equal(got, want) {
			t.Errorf("the topics are %q, want %q", got, want)
		}
		s = reopen()
	}
}

// Creating a topic fails at any call, and the process is killed at any call of the next attempt: the
// topic exists or not, and nothing is damaged.
func TestKillWhileATopicIsMadeAgain(t *testing.T) {
	brokertest.Slow(t)
	for name, hook := range map[string]crashfs.Hook{"moved": func(crashfs.Call) error { return nil }, "where it is": noMoves} {
		t.Run(name, func(t *testing.T) {
			for n, failed := int64(1), true; failed; n++ {
				for m, died := int64(1), true; died && failed; m++ {
					failed, died = killedAgain(t, hook, n, m)
				}
			}
		})
	}
}

// killedAgain fails the n-th call of creating a topic, and kills the process at the m-th call of the
// next attempt.
func killedAgain(t *testing.T, hook crashfs.Hook, n, m int64) (failed, died bool) {
	t.Helper()
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	calls := failAt(disk, n, hook)
	_, err := s.CreateTopic("orders", 2, "")
	if failed = calls.Load() >= n; err == nil {
		return failed, false
	}
	calls = killAt(disk, m, hook)
	_, err = s.CreateTopic("orders", 2, "")
	if died = calls.Load() >= m; !died && err != nil {
		t.Fatalf("call %d failed, making it again: %v", n, err)
	}
	for _, disk := range []*crashfs.FS{disk.KillClone(), disk.Crash(crashfs.Some(uint64(n * m)))} {
		log := new(recorder)
		s := openWith(t, disk, log)
		for _, line := range log.logged() {
			if strings.HasPrefix(line, "ERROR") {
				t.Fatalf("call %d failed, killed at call %d: %s", n, m, line)
			}
		}
		if _, err := s.CreateTopic("orders", 2, ""); err != nil && !errors.Is(err, store.ErrTopicExists) {
			t.Fatalf("call %d failed, killed at call %d: %v", n, m, err)
		}
		appendThree(t, s, "orders", 1)
		s.Close()
	}
	return failed, died
}

// failAt makes the n-th call fail, and returns a count of the calls.
func failAt(disk *crashfs.FS, n int64, hook crashfs.Hook) *atomic.Int64 {
	calls := new(atomic.Int64)
	disk.SetHook(func(c crashfs.Call) error {
		if calls.Add(1) == n {
			return syscall.EIO
		}
		return hook(c)
	})
	return calls
}

// Nor is it removed if it is put back during the attempt.
func TestMakingATopicInPlaceRemovesNoOtherThatComesMeanwhile(t *testing.T) {
	disk := crashfs.New()
	s, err := commitlog.Open("/data", commitlog.Options{FS: folding{FS: disk}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	renames := 0
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op != crashfs.Rename || !strings.HasSuffix(c.To, "/topics/Orders") {
			return nil
		}
		if renames++; renames == 2 {
			if _, err := s.CreateTopic("orders", 1, ""); err != nil {
				t.Errorf("the other one: %v", err)
			}
			appendThree(t, s, "orders", 0)
		}
		return syscall.EXDEV
	})
	if _, err := s.CreateTopic("Orders", 1, ""); err == nil {
		t.Error("a topic was made in the place of another one")
	}
	disk.SetHook(nil)
	s.Close()
	hasRecords(t, openWith(t, disk.KillClone(), nil), "orders", 0, 3)
}
