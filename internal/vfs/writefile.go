package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// WriteFile replaces the content of a small file atomically and durably, with an LF at its end.
func WriteFile(disk FS, name string, content []byte) error {
	tmp := name + ".tmp"
	if err := disk.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := disk.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(content, '\n'), 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = disk.Rename(tmp, name)
	}
	if err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(name))
}
