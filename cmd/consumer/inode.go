package main

import (
	"os"
	"path/filepath"
)

// An inode is a file of a file system, whatever its name. The zero one is unknown.
type inode struct {
	number uint64
	born   int64 // nanoseconds since 1970; 0 where the file system does not say it
}

func inodeOf(f *os.File) (inode, error) { return inodeAt(int(f.Fd()), "") }

// nameOf finds the file in the directory of path, whose name it had, and returns what its
// name is now, "" if it is not there. Where files don't say when they were made, another
// one may have got the number: the name must begin with that of path.
func (i inode) nameOf(path string) (string, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	base := filepath.Base(path)
	for _, name := range names {
		if i.born == 0 && !(len(name) > len(base) && name[:len(base)] == base) {
			continue
		}
		if j, err := inodeAt(int(dir.Fd()), name); err == nil && i == j { // else it is gone by now
			return filepath.Join(filepath.Dir(path), name), nil
		}
	}
	return "", nil
}
