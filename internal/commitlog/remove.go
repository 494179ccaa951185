package commitlog

import (
	"path/filepath"

	"mbus/internal/vfs"
)

// removeAll deletes a directory and all that is in it; behind a link only what is
// ours. What file systems put into a directory may stay.
func removeAll(fs vfs.FS, dir string) error {
	err := removeIn(fs, dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	return fs.Remove(dir)
}

// removeIn is removeAll of what is in a directory, which stays.
func removeIn(fs vfs.FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		switch {
		case e.Link && e.Dir:
			err = removeLinked(fs, name)
		case e.Dir:
			err = removeAll(fs, name)
		default:
			err = ignoreNotExist(fs.Remove(name))
		}
		if err != nil && !isForeign(e.Name) {
			return err
		}
	}
	return nil
}
