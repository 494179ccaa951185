package commitlog

import (
	"path/filepath"
	"slices"

	"mbus/internal/vfs"
)

// An inventory is what the directory of a partition holds, for recovery and for Verify.
type inventory struct {
	log      *partition
	entries  []vfs.Entry
	sizes    map[int64]int64 // of the segments, in bytes, by base offset
	segments []*segment      // ascending
	start    int64           // log start offset
	startEnd int64           // the log had reached it when the log start offset was written
	marker   string          // name of a file that holds the log start offset in its name; "" for none
	journal  journalled      // what the journal tells of the log
}

// takeInventory lists the directory.
func (l *partition) takeInventory() (*inventory, error) {
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	v := &inventory{log: l, entries: entries, sizes: make(map[int64]int64)}
	for _, e := range entries {
		if base, ok := parseBase(e.Name, logSuffix); ok && !e.Dir {
			v.sizes[base] = e.Size
			v.segments = append(v.segments, newSegment(l, base))
		}
		if start, ok := parseBase(e.Name, startSuffix); ok && start >= v.start {
			v.start, v.marker = start, filepath.Join(l.dir, e.Name)
		}
	}
	slices.SortFunc(v.segments, func(a, b *segment) int { return int(max(-1, min(1, a.base-b.base))) })
	return v, nil
}

// findStart sets the log start offset to the one stored last, in the file or in the name of one, or to
// 0. If the file is damaged the log starts with the first segment.
func (v *inventory) findStart() (valid bool, err error) {
	start, err := v.readStart()
	if start < 0 && len(v.segments) > 0 {
		v.start = max(v.start, v.segments[0].base)
	}
	v.start = max(v.start, start)
	v.startEnd = max(v.startEnd, v.start)
	return start >= 0, err
}

// readStart returns the log start offset in the file; 0 without a file, -1 if it is damaged.
func (v *inventory) readStart() (int64, error) {
	if !holds(v.entries, startName) {
		return 0, nil
	}
	l, name := v.log, filepath.Join(v.log.dir, startName)
	p, err := readHead(l.fs, name, 64)
	if isNotExist(err) {
		return 0, nil
	}
	if vfs.IsUnreadable(err) {
		l.logError("ignoring a log start offset that can't be read: the log starts with its first segment", "file", name, "reason", err)
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	start, end, ok := l.epoch.parseStart(p)
	if !ok {
		l.logError("ignoring a damaged log start offset: the log starts with its first segment", "file", name, "content", string(p))
		return -1, nil
	}
	v.startEnd = end
	return start, nil
}

// orphans returns the segments that have only an index: a crash has interrupted their removal, or their
// file is lost.
func (v *inventory) orphans() (list []*segment) {
	for _, e := range v.entries {
		base, ok := parseBase(e.Name, indexSuffix)
		if _, exists := v.sizes[base]; ok && !exists {
			list = append(list, newSegment(v.log, base))
		}
	}
	return list
}

// lostIn returns the offset behind an orphan, or 0 if it had no records above the log start offset.
func (v *inventory) lostIn(orphan *segment) (next int64, err error) {
	known, err := orphan.index.open()
	if m := orphan.index.recoveryPoint(); known && m.pos > 0 && m.next > v.start {
		next = m.next
	}
	return next, err
}
