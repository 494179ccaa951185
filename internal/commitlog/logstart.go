package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"

	"mbus/internal/vfs"
)

// The log start offset is in a file of its own, which is replaced as a whole. That takes
// space, and on a full disk there is none to forget old messages with. Then it goes into
// the name of a file instead: the index of a segment that is to go is renamed, which takes
// none. When the file can be written again the name is given up.

const (
	startName   = "log-start-offset"
	startSuffix = ".start" // as long as that of an index, so that the directory has space for it
)

// keepStart makes start the log start offset, durably, after what is visible: what is given
// up may be what that has taken the place of. The caller holds trimMu.
func (l *partition) keepStart(start int64) error {
	l.mu.Lock()
	same, end := start == l.start, l.high.next
	l.mu.Unlock()
	if same {
		return nil
	}
	if err := l.syncVisible(); err != nil {
		return err
	}
	err := l.writeStart(start, end)
	switch {
	case isFull(err):
		return noRoom(l.nameStart(start, err))
	case err != nil:
		return err
	}
	l.setStart(start)
	if l.marker != "" && l.fs.Remove(l.marker) == nil {
		l.marker = "" // should it come back it does no harm: its start is an earlier one
	}
	return nil
}

func (l *partition) setStart(start int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = start
}

// nameStart keeps the log start offset in the name of a file, because there is no space: the
// reason says so. That file is the one that has the last such name, or the index of a segment that
// goes.
func (l *partition) nameStart(start int64, reason error) error {
	old := l.marker
	if old == "" {
		s := l.expendable(start)
		if s == nil {
			return reason // nothing would be freed
		}
		s.forget()                   // or a reader makes it again
		defer s.index.file.release() // readers go on with it
		old = s.index.file.name
	}
	name := filepath.Join(l.dir, fmt.Sprintf("%020d%s", start, startSuffix))
	if err := l.fs.Rename(old, name); err != nil {
		return errors.Join(reason, err)
	}
	l.marker = name
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.setStart(start)
	return nil
}

// expendable finds a segment that goes when the log begins at start and has an index, and
// acquires that; nil if there is none.
func (l *partition) expendable(start int64) *segment {
	l.mu.Lock()
	gone := l.segments[:below(l.segments, start)]
	l.mu.Unlock()
	for _, s := range gone {
		if _, err := s.index.file.acquire(); err == nil {
			return s
		}
	}
	return nil
}

// findStart sets the log start offset to what was stored last, in the file or, as list has
// found, in a name; 0 if none was. If the file is not sound the first segment begins the log.
func (l *partition) findStart() (sound bool, err error) {
	start, err := l.readStart()
	if start < 0 && len(l.segments) > 0 {
		l.start = max(l.start, l.segments[0].base)
	}
	l.start = max(l.start, start)
	l.startEnd = max(l.startEnd, l.start)
	return start >= 0, err
}

// readStart is the log start offset that was stored last; 0 if none was, -1 if it
// is damaged.
func (l *partition) readStart() (int64, error) {
	p := make([]byte, 64)
	n, err := l.readSmall(startName, p)
	if isNotExist(err) {
		return 0, nil
	}
	if vfs.IsUnreadable(err) {
		l.log.Error("ignoring a log start offset that can't be read", "file", filepath.Join(l.dir, startName), "reason", err)
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	start, end, ok := l.place.parseStart(p[:n])
	if !ok {
		l.log.Error("ignoring a damaged log start offset", "file", filepath.Join(l.dir, startName), "content", string(p[:n]))
		return -1, nil
	}
	l.startEnd = end
	return start, nil
}

// readSmall reads a file that p has space for.
func (l *partition) readSmall(name string, p []byte) (int, error) {
	f, err := l.fs.Open(filepath.Join(l.dir, name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.ReadAt(p, 0)
	return n, ignoreEOF(err)
}

// writeStart stores the log start offset. What is before end is durable.
func (l *partition) writeStart(offset, end int64) error {
	return vfs.WriteFile(l.fs, filepath.Join(l.dir, startName), l.place.startText(offset, end))
}

// doubtStart gives up a log start offset that was written when the log reached further than
// it does now. In a copy of a data directory that is in use it may be newer than the log:
// what has taken the place of what lies before the start is missing, such as the latest
// positions of groups.
func (l *partition) doubtStart(reached int64) error {
	first := l.segments[0].base
	if reached >= l.startEnd || first >= l.start {
		return nil
	}
	l.log.Error("the log start offset is newer than the log, and is not used: the data directory is an incomplete copy, or damaged",
		"topic", l.topic, "partition", l.number, "start", l.start, "first", reached, "next", l.startEnd, "begins", first)
	l.start = first
	return l.orOwe(func() error { return l.writeStart(first, l.high.next) })
}
