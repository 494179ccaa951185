package commitlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"mbus/internal/vfs"
)

// floor returns the last entry for which after is false, or the segment's beginning. after is false for
// some first entries and true for all others. The entries in the file have been checked.
func (x *index) floor(after func(entry) bool) (entry, error) {
	if found, _, ok := x.floorInMemory(after); ok {
		return found, nil
	}
	return x.floorInFile(after)
}

// floorInFile is floor, among the entries in the file if need be.
func (x *index) floorInFile(after func(entry) bool) (entry, error) {
	for {
		found, in, ok := x.floorInMemory(after)
		if ok {
			return found, nil
		}
		err := x.search(in.count, after, func(e entry) { found = e }, nil)
		if x.is(in.version) {
			return found, stale(err)
		}
	}
}

// A fileState is the content of the file at one time: its entries are unchanged while the index has the
// same version.
type fileState struct{ version, count int }

// is says whether the index still has this version.
func (x *index) is(version int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.version == version
}

// floorInMemory is floor among the entries in memory. If ok is false, the entries in the file may have
// a later one than found.
func (x *index) floorInMemory(after func(entry) bool) (found entry, in fileState, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, list := range [][]entry{x.recent, x.tail, x.held} {
		if i := sort.Search(len(list), func(i int) bool { return after(list[i]) }); i > 0 {
			return list[i-1], in, true
		}
	}
	found = entry{offset: x.base, before: minTime}
	return found, fileState{x.version, x.count}, x.count == 0 || x.held != nil
}

// search is a binary search of the first count entries in the file. It calls below with each entry that
// it reads for which after is false, ascending, and above with the others, descending.
func (x *index) search(count int, after func(entry) bool, below, above func(entry)) error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	sort.Search(count, func(i int) bool {
		var p [entrySize]byte
		if _, e := f.ReadAt(p[:], indexHeader+int64(i)*entrySize); e != nil {
			err = e
			return true
		}
		e := parseEntry(p[:])
		if after(e) {
			if above != nil {
				above(e)
			}
			return true
		}
		if below != nil {
			below(e)
		}
		return false
	})
	return err
}

// above returns the first entry behind a position and an offset, among those in memory and, if they
// have been checked and can be read, those in the file.
func (x *index) above(pos, offset int64) (found entry, ok bool) {
	behind := func(e entry) bool { return e.pos > pos && e.offset > offset }
	for {
		in := fileState{}
		if found, in, ok = x.aboveInMemory(behind); in.count == 0 {
			return found, ok
		}
		_ = x.search(in.count, behind, nil, func(e entry) { // an unreadable entry is left out
			if !ok || e.pos < found.pos {
				found, ok = e, true
			}
		})
		if x.is(in.version) {
			return found, ok
		}
	}
}

// aboveInMemory is above among the entries in memory. The entries in the file may have an earlier one.
func (x *index) aboveInMemory(behind func(entry) bool) (found entry, in fileState, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, list := range [][]entry{x.recent, x.tail, x.held} {
		i := sort.Search(len(list), func(i int) bool { return behind(list[i]) })
		if i < len(list) && (!ok || list[i].pos < found.pos) {
			found, ok = list[i], true
		}
	}
	if x.held == nil && x.checked {
		in = fileState{x.version, x.count}
	}
	return found, in, ok
}

// stale wraps the error of a read that has not found the entries in errStale, so that the index is
// built again.
func stale(err error) error {
	if vfs.IsUnreadable(err) || isNotExist(err) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it can't be read: %w", errStale, err)
	}
	return err
}

// reread checks entries that have just been written.
func (x *index) reread() error {
	x.mu.Lock()
	x.checked = false
	x.mu.Unlock()
	err := x.check()
	x.mu.Lock()
	x.checked = true
	x.mu.Unlock()
	return err
}

// check reads the entries in the file once. It returns errStale if they are damaged.
func (x *index) check() error {
	for {
		x.mu.Lock()
		in, crc, checked := fileState{x.version, x.count}, x.crc, x.checked
		x.checked = checked || x.count == 0
		x.mu.Unlock()
		if checked || in.count == 0 {
			return nil
		}
		err := x.compare(in.count, crc)
		if x.conclude(in.version, err) {
			return err
		}
	}
}

// conclude notes the result of compare, unless the file has changed meanwhile.
func (x *index) conclude(version int, err error) (ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != version {
		return false
	}
	x.checked = err == nil
	return true
}

// compare compares the first count entries in the file with their CRC.
func (x *index) compare(count int, crc uint32) error {
	f, err := x.file.acquire()
	if err != nil {
		return stale(err)
	}
	defer x.file.release()
	size, err := f.Size()
	if err != nil {
		return stale(err)
	}
	if want := indexHeader + int64(count)*entrySize; size < want {
		return fmt.Errorf("%w: it has %d bytes, its header says %d", errStale, size, want)
	}
	p := make([]byte, count*entrySize)
	if _, err := f.ReadAt(p, indexHeader); err != nil {
		return stale(err)
	}
	if crc32.Checksum(p, castagnoli) != crc {
		return fmt.Errorf("%w: the CRC of its %d entries is wrong", errStale, count)
	}
	return nil
}
