package commitlog

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"mbus/internal/vfs"
)

// A topic's directory may hold files of others. Behind a link, or where a directory can't be moved,
// only the files of mbus are removed.

// isOurs says whether a file in a partition's directory is of mbus: the files of a segment begin
// with its offset, except for the copy that heals a log.
func isOurs(name string) bool {
	digits, _, _ := strings.Cut(name, ".")
	return len(digits) == 20 && strings.Trim(digits, "0123456789") == "" || strings.HasPrefix(name, startName) || name == healName
}

// partitionNumber reads the number from the name of a partition's directory.
func partitionNumber(e vfs.Entry) (int, bool) {
	n, err := strconv.Atoi(e.Name)
	return n, err == nil && n >= 0 && e.Dir && strconv.Itoa(n) == e.Name
}

// removeTopic removes the files of mbus in a topic's directory, and the directory, or the link to
// it, if it is empty then.
func removeTopic(fs vfs.FS, dir string) error {
	if err := removeOurs(fs, dir); err != nil {
		return err
	}
	return removeDir(fs, dir)
}

// removeDir removes a directory, or a link to one. If it is a mount point, or not empty, it syncs
// the directory instead, to make removals from it durable.
func removeDir(fs vfs.FS, dir string) error {
	switch err := fs.Remove(dir); {
	case err == nil || isNotExist(err):
		return nil
	case isExist(err) || errors.Is(err, syscall.EBUSY):
		return fs.SyncDir(dir)
	default:
		return err
	}
}

// removeOurs removes the files of mbus in a topic's directory, the one that marks it as deleted
// last.
func removeOurs(fs vfs.FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		if _, ok := partitionNumber(e); ok {
			if err := removeLog(fs, name); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{topicName + ".tmp", graveName + ".tmp", topicName} {
		if err := fs.Remove(filepath.Join(dir, name)); ignoreNotExist(err) != nil {
			return err
		}
	}
	if err := fs.SyncDir(dir); err != nil {
		return err
	}
	return ignoreNotExist(fs.Remove(filepath.Join(dir, graveName)))
}

// removeLog removes the files of mbus in a partition's directory, and the directory if it is empty
// then.
func removeLog(fs vfs.FS, dir string) error {
	if err := removeFiles(fs, dir); err != nil {
		return err
	}
	return removeDir(fs, dir)
}

// removeFiles removes the files of mbus in a partition's directory.
func removeFiles(fs vfs.FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	for _, e := range entries {
		if !e.Dir && isOurs(e.Name) {
			if err := ignoreNotExist(fs.Remove(filepath.Join(dir, e.Name))); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeLinked removes the files of mbus behind a link to a topic or to a partition, and the link.
func removeLinked(fs vfs.FS, link string) error {
	if err := removeFiles(fs, link); err != nil {
		return err
	}
	return removeTopic(fs, link)
}

func ignoreNotExist(err error) error {
	if isNotExist(err) {
		return nil
	}
	return err
}

// holdsMessages says whether a partition's directory has a segment that is not empty.
func holdsMessages(entries []vfs.Entry) bool {
	for _, e := range entries {
		if _, isLog := parseBase(e.Name, logSuffix); isLog && e.Size > 0 {
			return true
		}
	}
	return false
}

// foreign are names that file systems, mounts and tools create in directories; "*" stands for any
// end.
var foreign = []string{
	"lost+found", "aquota.user", "aquota.group", "quota.user", "quota.group", ".fuse_hidden*", ".nfs*",
	".snapshot", ".snapshots", ".zfs", ".snap", ".glusterfs", ".Trash", ".Trash-*", ".Trashes", ".directory",
	".gitkeep", ".gitignore", ".keep", ".placeholder", ".DS_Store", "._*", ".AppleDouble", ".fseventsd",
	".Spotlight-V100", ".TemporaryItems", ".DocumentRevisions-V100", ".VolumeIcon.icns", ".apdisk",
	"System Volume Information", "$RECYCLE.BIN", "RECYCLER", "desktop.ini", "Thumbs.db", "@eaDir", "#recycle", "#snapshot",
}

// isForeign says whether a name holds no data of anybody.
func isForeign(name string) bool {
	for _, f := range foreign {
		prefix, any := strings.CutSuffix(f, "*")
		if name == f || any && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
