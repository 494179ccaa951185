package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"mbus/internal/vfs"
)

// A dataDir is the data directory of a store: its format, its lock and its small files.
type dataDir struct {
	fs   vfs.FS
	root string
	log  *slog.Logger
	lock *os.File // nil on file systems of tests
}

// probe fails if the directory holds something else, and changes nothing.
func (d *dataDir) probe() error {
	_, err := d.hasFormat()
	if errors.Is(err, errDamaged) {
		return nil
	}
	return err
}

// hasFormat says whether the directory is a data directory already. It fails if it is something
// else.
func (d *dataDir) hasFormat() (bool, error) {
	content, err := d.readFile(formatName)
	if err == nil || vfs.IsUnreadable(err) {
		if err == nil {
			err = knownFormat(content)
		}
		if err != nil && !namesFormat(content) && d.hasCatalog() {
			return true, fmt.Errorf("%w: %s: %w", errDamaged, d.path(formatName), err)
		}
		return true, err
	}
	if !isNotExist(err) {
		return false, err
	}
	entries, err := d.fs.ReadDir(d.root)
	if err != nil {
		return false, ignoreNotExist(err)
	}
	for _, e := range entries {
		switch {
		case e.Name == formatName+".tmp" || isForeign(e.Name):
		case e.Name == lockName && d.isOurLock():
		default:
			return false, fmt.Errorf("it holds %q and no file %q: this is not an mbus data directory", e.Name, formatName)
		}
	}
	return false, nil
}

// isOurLock says whether the file "lock" holds just a process id.
func (d *dataDir) isOurLock() bool {
	content, err := d.readFile(lockName)
	if err != nil {
		return false
	}
	text := strings.TrimSpace(string(content))
	return strings.Trim(text, "0123456789") == ""
}

// knownFormat checks the content of the file "format".
func knownFormat(content []byte) error {
	got := strings.TrimSpace(string(content))
	if strings.HasPrefix(got, formatCluster) {
		return errors.New("it belongs to a node of a cluster: -cluster and -peers start it as that; admin export makes a directory of a single broker")
	}
	if got != format && got != formatJournal {
		return fmt.Errorf("its format is %q, this program knows %q and %q: CHANGELOG.md says under Upgrading what to do", got, format, formatJournal)
	}
	return nil
}

// namesFormat says whether the file "format" names a format of mbus.
func namesFormat(content []byte) bool { return strings.HasPrefix(string(content), "mbus ") }

// hasCatalog says whether there is a catalog with an intact line, so that the directory is of mbus.
func (d *dataDir) hasCatalog() bool {
	c := newCatalog(d)
	exists, _, err := c.load()
	return exists && err == nil && c.lines > 0
}

// initialize makes an empty directory a data directory, and fails if it holds something else.
func (d *dataDir) initialize() error {
	if err := d.makeDirs(); err != nil {
		return err
	}
	begun, err := d.hasFormat()
	if errors.Is(err, errDamaged) {
		d.log.Error("the file \"format\" is damaged, and is written again", "file", d.path(formatName), "reason", err)
		return d.setFormat(d.journalHas(func(vfs.Entry) bool { return true }))
	}
	if err != nil {
		return err
	}
	if begun {
		return d.fs.SyncDir(d.root) // before anything is added
	}
	if err := d.syncParents(); err != nil {
		return err
	}
	return vfs.WriteFile(d.fs, d.path(formatName), []byte(format))
}

// makeDirs creates the data directory with its parents.
func (d *dataDir) makeDirs() error { return d.makeDirsTo(filepath.Clean(d.root)) }

func (d *dataDir) makeDirsTo(dir string) error {
	err := d.fs.Mkdir(dir)
	if isNotExist(err) && filepath.Dir(dir) != dir {
		if err := d.makeDirsTo(filepath.Dir(dir)); err != nil {
			return err
		}
		err = d.fs.Mkdir(dir)
	}
	if isExist(err) {
		return nil
	}
	return err
}

// syncParents makes the names of the data directory and of its parents durable, even if an earlier
// process created them, because that may have been killed before it synced. A directory that can
// be entered and not read can't be synced alone.
func (d *dataDir) syncParents() error {
	for dir := filepath.Clean(d.root); ; {
		above := filepath.Dir(dir)
		if above == dir {
			return nil
		}
		err := d.fs.SyncDir(above)
		if whole, ok := d.fs.(interface{ SyncAll(dir string) error }); ok && errors.Is(err, fs.ErrPermission) {
			err = whole.SyncAll(d.root)
			if errors.Is(err, syscall.ENOSYS) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
		if above == "." {
			return nil
		}
		dir = above
	}
}

// makeDir creates a directory in the data directory, if it does not exist.
func (d *dataDir) makeDir(name string) error {
	err := d.fs.Mkdir(d.path(name))
	if isExist(err) {
		return nil
	}
	return err
}

// path is the path of a file in the data directory.
func (d *dataDir) path(names ...string) string {
	return filepath.Join(append([]string{d.root}, names...)...)
}

// readFile reads a small file, of at most maxTopicFile bytes.
func (d *dataDir) readFile(names ...string) ([]byte, error) {
	return readHead(d.fs, d.path(names...), maxTopicFile)
}

// overwrite replaces the content of a small file by as many bytes, which needs no space.
func (d *dataDir) overwrite(name string, content []byte, durably bool) error {
	f, err := d.fs.Open(d.path(name))
	if isNotExist(err) {
		f, err = d.fs.Create(d.path(name))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil || !durably {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return d.fs.SyncDir(d.root)
}

// readHead reads the first n bytes of a file, or all if it has fewer.
func readHead(fs vfs.FS, name string, n int) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, min(n, 512)) // most have less
	got, err := f.ReadAt(p, 0)
	if got < len(p) || got == n {
		return p[:got], ignoreEOF(err)
	}
	p = append(p, make([]byte, n-got)...)
	more, err := f.ReadAt(p[got:], int64(got))
	return p[:got+more], ignoreEOF(err)
}
