package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"mbus/internal/vfs"
)

// look refuses a directory that holds something else, and changes nothing.
func (s *Store) look() error {
	_, err := s.hasFormat()
	if errors.Is(err, errDamaged) {
		return nil
	}
	return err
}

// hasFormat says whether the data directory has been begun. The error says that it is
// something else.
func (s *Store) hasFormat() (bool, error) {
	content, err := s.readFile(formatName)
	if err == nil || vfs.IsUnreadable(err) {
		if err == nil {
			err = knownFormat(content)
		}
		if err != nil && !namesFormat(content) && s.hasCatalog() {
			return true, fmt.Errorf("%w: %s: %w", errDamaged, s.path(formatName), err)
		}
		return true, err
	}
	if !isNotExist(err) {
		return false, err
	}
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return false, ignoreNotExist(err)
	}
	for _, e := range entries {
		switch {
		case e.Name == formatName+".tmp" || isForeign(e.Name):
		case e.Name == lockName && s.isOurLock():
		default:
			return false, fmt.Errorf("it holds %q and no file %q: this is not an mbus data directory", e.Name, formatName)
		}
	}
	return false, nil
}

// isOurLock says whether the file lock holds nothing but a process id.
func (s *Store) isOurLock() bool {
	content, err := s.readFile(lockName)
	if err != nil {
		return false
	}
	text := strings.TrimSpace(string(content))
	return strings.Trim(text, "0123456789") == ""
}

// knownFormat checks what the file of that name holds.
func knownFormat(content []byte) error {
	if got := strings.TrimSpace(string(content)); got != format {
		return fmt.Errorf("its format is %q, this program knows %q: CHANGELOG.md says under Upgrading what to do", got, format)
	}
	return nil
}

// namesFormat says whether the file of that name says which format of ours it is.
func namesFormat(content []byte) bool { return strings.HasPrefix(string(content), "mbus ") }

// hasCatalog says whether there is a catalog with a line that is sound: the directory is ours.
func (s *Store) hasCatalog() bool {
	c := newCatalog(s.fs, s.path(catalogName))
	exists, _, err := c.load()
	return exists && err == nil && c.lines > 0
}

// checkFormat makes a data directory of an empty one, and refuses one that holds
// something else.
func (s *Store) checkFormat() error {
	if err := s.makeDirs(); err != nil {
		return err
	}
	begun, err := s.hasFormat()
	if errors.Is(err, errDamaged) {
		s.opts.Log.Error("the file that says the format is damaged, and is written again", "reason", err)
		return vfs.WriteFile(s.fs, s.path(formatName), []byte(format))
	}
	if err != nil {
		return err
	}
	if begun {
		return s.fs.SyncDir(s.dir) // before there is anything else in it
	}
	if err := s.syncAbove(); err != nil {
		return err
	}
	return vfs.WriteFile(s.fs, s.path(formatName), []byte(format))
}

// makeDirs makes the data directory, and those that it is in.
func (s *Store) makeDirs() error { return s.makeDirsTo(filepath.Clean(s.dir)) }

func (s *Store) makeDirsTo(dir string) error {
	err := s.fs.Mkdir(dir)
	if isNotExist(err) && filepath.Dir(dir) != dir {
		if err := s.makeDirsTo(filepath.Dir(dir)); err != nil {
			return err
		}
		err = s.fs.Mkdir(dir)
	}
	if isExist(err) {
		return nil
	}
	return err
}

// syncAbove makes the names of the data directory and of those that it is in durable,
// whoever has made them: a process that was killed may not have come to sync them. A
// directory that may be entered and not read can't be synced by itself.
func (s *Store) syncAbove() error {
	for dir := filepath.Clean(s.dir); ; {
		above := filepath.Dir(dir)
		if above == dir {
			return nil
		}
		err := s.fs.SyncDir(above)
		if whole, ok := s.fs.(interface{ SyncAll(dir string) error }); ok && errors.Is(err, fs.ErrPermission) {
			err = whole.SyncAll(s.dir)
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

// makeDir makes a directory in the data directory, if it is not there.
func (s *Store) makeDir(name string) error {
	err := s.fs.Mkdir(s.path(name))
	if isExist(err) {
		return nil
	}
	return err
}
