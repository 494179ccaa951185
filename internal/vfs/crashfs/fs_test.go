package crashfs

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"mbus/internal/vfs"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, d *FS, name string, content []byte) vfs.File {
	t.Helper()
	f, err := d.Create(name)
	ok(t, err)
	write(t, f, content, 0)
	return f
}

func write(t *testing.T, f vfs.File, p []byte, pos int64) {
	t.Helper()
	n, err := f.WriteAt(p, pos)
	ok(t, err)
	if n != len(p) {
		t.Fatalf("wrote %d bytes of %d", n, len(p))
	}
}

// read returns what the file holds, nil if there is none.
func read(t *testing.T, d *FS, name string) []byte {
	t.Helper()
	f, err := d.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ok(t, err)
	size, err := f.Size()
	ok(t, err)
	p := make([]byte, size)
	if size > 0 {
		_, err = f.ReadAt(p, 0)
		ok(t, err)
	}
	ok(t, f.Close())
	return p
}

func want(t *testing.T, d *FS, name string, content []byte) {
	t.Helper()
	if got := read(t, d, name); !bytes.Equal(got, content) || (got == nil) != (content == nil) {
		t.Errorf("%s holds %.40q, want %.40q", name, got, content)
	}
}

func TestUnsyncedDataIsLostAndSyncedDataIsNot(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("synced"))
	ok(t, f.Sync())
	ok(t, d.SyncDir("/"))
	write(t, f, []byte(" and not"), 6)
	want(t, d, "/f", []byte("synced and not"))
	want(t, d.Crash(Nothing()), "/f", []byte("synced"))
	want(t, d.Crash(Everything()), "/f", []byte("synced and not"))
}

func TestUnsyncedTruncateIsForgotten(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("whole"))
	ok(t, f.Sync())
	ok(t, d.SyncDir("/"))
	ok(t, f.Truncate(2))
	want(t, d, "/f", []byte("wh"))
	want(t, d.Crash(Nothing()), "/f", []byte("whole"))
	want(t, d.Crash(Everything()), "/f", []byte("wh"))
}

func TestSyncedFileWithoutSyncedNameVanishes(t *testing.T) {
	d := New()
	ok(t, d.Mkdir("/dir"))
	f := create(t, d, "/dir/f", []byte("x"))
	ok(t, f.Sync())
	ok(t, d.SyncDir("/dir"))
	want(t, d.Crash(Nothing()), "/dir/f", nil) // the directory's own name is not synced
	want(t, d.Crash(Everything()), "/dir/f", []byte("x"))
}

func TestUnsyncedRemoveIsForgotten(t *testing.T) {
	d := New()
	ok(t, create(t, d, "/f", []byte("x")).Sync())
	ok(t, d.SyncDir("/"))
	ok(t, d.Remove("/f"))
	want(t, d, "/f", nil)
	want(t, d.Crash(Nothing()), "/f", []byte("x"))
	ok(t, d.Crash(Nothing()).SyncDir("/"))
	want(t, d.Crash(Everything()), "/f", nil)
}

func TestRenameHappensWhollyOrNotAtAll(t *testing.T) {
	d := New()
	ok(t, create(t, d, "/f", []byte("old")).Sync())
	ok(t, d.Mkdir("/dir"))
	ok(t, create(t, d, "/dir/tmp", []byte("new")).Sync())
	ok(t, d.SyncDir("/"))
	ok(t, d.SyncDir("/dir"))
	ok(t, d.Rename("/dir/tmp", "/f"))
	var before, after int
	for seed := range uint64(50) {
		c := d.Crash(Some(seed))
		if read(t, c, "/dir/tmp") != nil {
			before++
			want(t, c, "/f", []byte("old"))
			continue
		}
		after++
		want(t, c, "/f", []byte("new"))
	}
	if before == 0 || after == 0 {
		t.Errorf("%d times before the rename, %d times after it", before, after)
	}
}

func TestSyncDirMakesARenameLast(t *testing.T) {
	for _, dir := range []string{"/", "/dir"} {
		d := New()
		ok(t, d.Mkdir("/dir"))
		ok(t, create(t, d, "/f", []byte("x")).Sync())
		ok(t, d.SyncDir("/"))
		ok(t, d.Rename("/f", "/dir/g"))
		ok(t, d.SyncDir(dir))
		c := d.Crash(Nothing())
		want(t, c, "/f", nil)
		want(t, c, "/dir/g", []byte("x"))
	}
}

func TestSyncLeavesOutWhatIsWrittenWhileItRuns(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("before"))
	ok(t, d.SyncDir("/"))
	d.SetHook(func(c Call) error {
		if c.Op == Sync {
			write(t, f, []byte("during"), 6)
		}
		return nil
	})
	ok(t, f.Sync())
	want(t, d, "/f", []byte("beforeduring"))
	want(t, d.Crash(Nothing()), "/f", []byte("before"))
}

func TestOverlappingSyncsEachSyncOnlyWhatWasBeforeThem(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("1"))
	ok(t, d.SyncDir("/"))
	d.SetHook(func(Call) error {
		d.SetHook(nil)
		ok(t, f.Sync())
		write(t, f, []byte("2"), 1)
		return nil
	})
	ok(t, f.Sync())
	want(t, d.Crash(Nothing()), "/f", []byte("1"))
}

func TestSyncDirLeavesOutWhatIsCreatedWhileItRuns(t *testing.T) {
	d := New()
	ok(t, create(t, d, "/before", nil).Sync())
	d.SetHook(func(c Call) error {
		if c.Op == SyncDir {
			_, err := d.Create("/during")
			return err
		}
		return nil
	})
	ok(t, d.SyncDir("/"))
	c := d.Crash(Nothing())
	want(t, c, "/before", []byte{})
	want(t, c, "/during", nil)
}

func TestSyncAfterAFailedSyncClaimsSuccessAndKeepsNothing(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("one"))
	ok(t, d.SyncDir("/"))
	d.SetHook(func(c Call) error { return syscall.EIO })
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v, want EIO", err)
	}
	want(t, d.Crash(Everything()), "/f", []byte("one"))

	d = New()
	f = create(t, d, "/f", []byte("one"))
	ok(t, d.SyncDir("/"))
	d.SetHook(func(c Call) error { return syscall.EIO })
	_ = f.Sync()
	d.SetHook(nil)
	write(t, f, []byte("two"), 3)
	ok(t, f.Sync())
	want(t, d, "/f", []byte("onetwo"))
	want(t, d.Crash(Everything()), "/f", []byte("\x00\x00\x00two"))
}

func TestSomeKeepsAnySubsetOfSectors(t *testing.T) {
	d := New()
	f := create(t, d, "/f", bytes.Repeat([]byte{'o'}, 3*SectorSize))
	ok(t, f.Sync())
	ok(t, d.SyncDir("/"))
	write(t, f, bytes.Repeat([]byte{'n'}, 3*SectorSize), 0)
	seen := map[string]bool{}
	for seed := range uint64(100) {
		p := read(t, d.Crash(Some(seed)), "/f")
		var sectors []byte
		for s := range slices.Chunk(p, SectorSize) {
			sectors = append(sectors, s[0])
			if !bytes.Equal(s, bytes.Repeat(s[:1], SectorSize)) {
				t.Fatal("a sector was written in part")
			}
		}
		seen[string(sectors)] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d of 8 outcomes seen: %v", len(seen), seen)
	}
}

func TestTornSectorsTouchNothingThatWasSynced(t *testing.T) {
	d := New()
	f := create(t, d, "/f", bytes.Repeat([]byte{'s'}, 700))
	ok(t, f.Sync())
	ok(t, d.SyncDir("/"))
	write(t, f, bytes.Repeat([]byte{'n'}, 2000), 700)
	write(t, f, bytes.Repeat([]byte{'s'}, 100), 50)
	var torn int
	for seed := range uint64(100) {
		p := read(t, d.Crash(Torn(seed)), "/f")
		if !bytes.Equal(p[:700], bytes.Repeat([]byte{'s'}, 700)) {
			t.Fatal("synced bytes were damaged")
		}
		if len(bytes.Trim(p[700:], "n")) > 0 {
			torn++
		}
	}
	if torn == 0 {
		t.Error("no sector was torn")
	}
}

func TestCrashesOfOneSeedAreTheSame(t *testing.T) {
	d := New()
	create(t, d, "/f", bytes.Repeat([]byte{'x'}, 9*SectorSize))
	create(t, d, "/g", bytes.Repeat([]byte{'y'}, 9*SectorSize))
	for seed := range uint64(20) {
		a, b := d.Crash(Torn(seed)), d.Crash(Torn(seed))
		want(t, b, "/f", read(t, a, "/f"))
		want(t, b, "/g", read(t, a, "/g"))
	}
}

func TestKillKeepsWhatIsUnsyncedUntilThePowerGoes(t *testing.T) {
	d := New()
	create(t, d, "/f", []byte("x"))
	killed := d.KillClone()
	want(t, killed, "/f", []byte("x"))
	want(t, killed.Crash(Nothing()), "/f", nil)

	killed = d.KillClone()
	f, err := killed.Open("/f")
	ok(t, err)
	ok(t, f.Sync())
	ok(t, killed.SyncDir("/"))
	want(t, killed.Crash(Nothing()), "/f", []byte("x"))
}

func TestNothingWorksAfterDeath(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("x"))
	d.Crash(Nothing())
	_, openErr := d.Open("/f")
	_, createErr := d.Create("/g")
	_, listErr := d.ReadDir("/")
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, writeErr := f.WriteAt([]byte("y"), 0)
	_, sizeErr := f.Size()
	for i, err := range []error{
		openErr, createErr, listErr, readErr, writeErr, sizeErr,
		d.Mkdir("/d"), d.Rename("/f", "/g"), d.Remove("/f"), d.SyncDir("/"), f.Truncate(0), f.Sync(), f.Close(),
	} {
		if !errors.Is(err, ErrDead) {
			t.Errorf("call %d: %v, want ErrDead", i, err)
		}
	}
	want(t, d.Crash(Everything()), "/f", []byte("x"))
}

func TestKillInTheHookStopsTheCall(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("x"))
	d.SetHook(func(Call) error { d.Kill(); return nil })
	if _, err := f.WriteAt([]byte("y"), 0); !errors.Is(err, ErrDead) {
		t.Errorf("write: %v, want ErrDead", err)
	}
	want(t, d.Crash(Everything()), "/f", []byte("x"))
}

func TestHookSeesEveryMutatingCallAndCanFailIt(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("x"))
	var seen []Op
	d.SetHook(func(c Call) error { seen = append(seen, c.Op); return syscall.ENOSPC })
	_, createErr := d.Create("/g")
	_, writeErr := f.WriteAt([]byte("y"), 0)
	for _, err := range []error{
		createErr, d.Mkdir("/d"), d.Rename("/f", "/h"), d.Remove("/f"),
		writeErr, f.Truncate(0), f.Sync(), d.SyncDir("/"),
	} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v, want ENOSPC", err)
		}
	}
	if all := []Op{Create, WriteAt, Mkdir, Rename, Remove, Truncate, Sync, SyncDir}; !slices.Equal(seen, all) {
		t.Errorf("the hook saw %v, want %v", seen, all)
	}
	want(t, d, "/f", []byte("x"))
}

func TestShortWriteWritesTheBeginning(t *testing.T) {
	d := New()
	f := create(t, d, "/f", nil)
	d.SetHook(func(Call) error { return &ShortWrite{N: 2, Err: syscall.ENOSPC} })
	n, err := f.WriteAt([]byte("abc"), 0)
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v; want 2, ENOSPC", n, err)
	}
	want(t, d, "/f", []byte("ab"))
}

func TestNamesBehaveAsInAnyFileSystem(t *testing.T) {
	d := New()
	ok(t, d.Mkdir("/dir"))
	create(t, d, "/dir/f", []byte("x"))
	_, again := d.Create("/dir/f")
	_, missing := d.Open("/dir/g")
	_, lost := d.Create("/no/f")
	for _, c := range []struct{ err, want error }{
		{again, fs.ErrExist},
		{missing, fs.ErrNotExist},
		{lost, fs.ErrNotExist},
		{d.Mkdir("/dir"), fs.ErrExist},
		{d.Remove("/dir"), syscall.ENOTEMPTY},
		{d.Remove("/dir/g"), fs.ErrNotExist},
		{d.Rename("/dir/g", "/h"), fs.ErrNotExist},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v, want %v", c.err, c.want)
		}
	}
	list, err := d.ReadDir("/dir/")
	ok(t, err)
	if e := (vfs.Entry{Name: "f", Size: 1}); !slices.Equal(list, []vfs.Entry{e}) {
		t.Errorf("listed %v", list)
	}
}

func TestOpenFileOutlivesItsName(t *testing.T) {
	d := New()
	f := create(t, d, "/f", []byte("x"))
	ok(t, d.Remove("/f"))
	p := make([]byte, 1)
	_, err := f.ReadAt(p, 0)
	ok(t, err)
	if p[0] != 'x' {
		t.Errorf("read %q", p)
	}
	if n := d.BytesRead("f"); n != 1 {
		t.Errorf("%d bytes counted as read, want 1", n)
	}
}

func TestOpenFilesAreCountedUntilClosed(t *testing.T) {
	d := New()
	f := create(t, d, "/f", nil)
	g, err := d.Open("/f")
	ok(t, err)
	if names := d.OpenFiles(); !slices.Equal(names, []string{"/f", "/f"}) {
		t.Errorf("open are %q", names)
	}
	ok(t, f.Close())
	ok(t, g.Close())
	if err := g.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if names := d.OpenFiles(); len(names) > 0 {
		t.Errorf("open are %q", names)
	}
}
