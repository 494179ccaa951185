package commitlog

import (
	"fmt"
	"strconv"
	"syscall"

	"mbus/internal/vfs"
)

// quarantineTail copies the torn tail of a segment of size bytes into a file of its own and cuts
// it off.
func (s *segment) quarantineTail(found found, size int64) error {
	l := s.log
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	pos := found.end.pos
	name, err := s.copyTail(r, span{pos, found.used})
	if err != nil {
		return err
	}
	known := "acknowledged only if the disk has damaged it, in the last second before a power cut"
	if l.late || l.syncEvery > 0 {
		known = "may have been acknowledged: with -fsync INTERVAL that comes before the sync"
	}
	l.warn("cut off a torn tail behind the recovery point", "file", s.file.name, "offset", pos,
		"bytes", size-pos, "copy", name, "reason", found.reason, "held", known)
	if err := r.f.Truncate(pos); err != nil {
		return err
	}
	return r.f.Sync()
}

// copyTail returns the name of the copy, which is durable and has zeros for unreadable bytes. If it
// fails it leaves no copy.
func (s *segment) copyTail(r *sectorReader, tail span) (name string, err error) {
	l := s.log
	if !l.space.fits(tail.to - tail.from) {
		return "", syscall.ENOSPC
	}
	out, name, err := s.createQuarantine(tail.from)
	if err != nil {
		return "", err
	}
	err = copyTo(out, r, tail)
	if err == nil {
		err = out.Sync()
	}
	out.Close()
	if err != nil {
		_ = l.fs.Remove(name)
		return "", err
	}
	return name, l.fs.SyncDir(l.dir)
}

// copyTo copies a range of bytes to the beginning of another file, as far as it can be
// read.
func copyTo(out vfs.File, r *sectorReader, s span) error {
	w := window{f: r, end: s.to, step: 1 << 20}
	for at := s.from; at < s.to; {
		p, err := w.at(at, 1<<20)
		if err != nil {
			return err
		}
		if len(p) == 0 {
			break // the file is shorter than it was
		}
		err = r.readable(p, at, func(p []byte, at int64) error {
			_, err := out.WriteAt(p, at-s.from)
			return err
		})
		if err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

func (s *segment) createQuarantine(pos int64) (vfs.File, string, error) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s%s%d", s.file.name, cutInfix, pos)
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		f, err := s.log.fs.Create(name)
		if !isExist(err) {
			return f, name, err
		}
	}
}
