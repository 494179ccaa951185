package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sort"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/vfs"
)

// The index file beside a segment holds the sync mark in its header, and then
// entries that ascend in offset, position and time alike, so that one array is
// searched by each of them:
//
//	 0        8       16       24       32       40      44        48      52       60    64
//	+--------+-------+--------+--------+--------+-------+---------+-------+--------+-----+
//	| magic  | base  | synced | synced | max    | entry | entries | place | append | CRC |
//	|mbusidx2| offset| bytes  | next   | time   | count | CRC     |       | times  |     |
//	+--------+-------+--------+--------+--------+-------+---------+-------+--------+-----+
//	| offset | position | max time before |  … count times, 24 bytes each
//	+--------+----------+-----------------+
//
// The mark says that the segment's first "synced bytes" bytes have been synced
// and end before offset "synced next". It is written after each sync, and synced
// itself in the background (marks), so after a power cut it may be older than the
// truth, never newer. An index that is missing, stale or damaged is built again from the
// segment.
const (
	indexMagic  = "mbusidx2"
	indexHeader = 64
	entrySize   = 24
	entriesMax  = 8192 // a segment; the interval between entries follows from it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A mark is a place in a segment: between batches, or at its end.
type mark struct {
	pos     int64 // bytes before it
	next    int64 // offset of the first record after it
	maxTime int64 // latest time of any record before it, minTime if none
}

// behind is the mark behind a batch that begins at m: its header, and its size in
// bytes.
func (m mark) behind(h batch.Batch, size int) mark {
	return mark{m.pos + int64(size), h.NextOffset(), max(m.maxTime, h.MaxTimestamp())}
}

// minTime stands for "no record".
const minTime = math.MinInt64

// An entry says where a batch begins.
type entry struct {
	offset int64 // its base offset
	pos    int64 // its position in the segment
	before int64 // latest time of any record before it in the segment
}

func (e entry) append(p []byte) []byte {
	p = binary.BigEndian.AppendUint64(p, uint64(e.offset))
	p = binary.BigEndian.AppendUint64(p, uint64(e.pos))
	return binary.BigEndian.AppendUint64(p, uint64(e.before))
}

func parseEntry(p []byte) entry {
	return entry{
		offset: int64(binary.BigEndian.Uint64(p)),
		pos:    int64(binary.BigEndian.Uint64(p[8:])),
		before: int64(binary.BigEndian.Uint64(p[16:])),
	}
}

// An index finds batches in one segment. Its entries are in the file but for a
// tail that is not written yet.
type index struct {
	file  handle
	base  int64
	place place

	mu      sync.Mutex // guards what follows
	synced  mark       // as the header says
	times   appendTimes
	count   int     // entries in the file
	crc     uint32  // of the entries in the file
	checked bool    // the entries in the file have been read and are sound
	held    []entry // those in the file, if they can't be read there
	tail    []entry // not in the file yet
	last    int64   // position of the latest entry
	recent  []entry // the latest batches, each of them, while the log is appended to
}

// maxRecent bounds recent. Half of it is more than a sync serves of publishers that send
// one message at a time, so who follows the log finds its place without reading.
const maxRecent = 128

// header encodes the header with m as its mark.
func (x *index) header(m mark) []byte {
	p := make([]byte, 0, indexHeader)
	p = append(p, indexMagic...)
	p = binary.BigEndian.AppendUint64(p, uint64(x.base))
	p = binary.BigEndian.AppendUint64(p, uint64(m.pos))
	p = binary.BigEndian.AppendUint64(p, uint64(m.next))
	p = binary.BigEndian.AppendUint64(p, uint64(m.maxTime))
	p = binary.BigEndian.AppendUint32(p, uint32(x.count))
	p = binary.BigEndian.AppendUint32(p, x.crc)
	p = binary.BigEndian.AppendUint32(p, uint32(x.place))
	p = binary.BigEndian.AppendUint32(p, x.times.first)
	p = binary.BigEndian.AppendUint32(p, x.times.last)
	return binary.BigEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// open reads the header. It reports false, and leaves the index empty with its
// mark at the segment's beginning, when there is no sound one.
func (x *index) open() (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reset()
	f, err := x.file.acquire()
	if isNotExist(err) || vfs.IsUnreadable(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer x.file.release()
	var p [indexHeader]byte
	if n, err := f.ReadAt(p[:], 0); n < len(p) {
		if vfs.IsUnreadable(err) {
			err = nil
		}
		return false, ignoreEOF(err)
	}
	sum := binary.BigEndian.Uint32(p[indexHeader-4:])
	m := mark{
		pos:     int64(binary.BigEndian.Uint64(p[16:])),
		next:    int64(binary.BigEndian.Uint64(p[24:])),
		maxTime: int64(binary.BigEndian.Uint64(p[32:])),
	}
	if string(p[:8]) != indexMagic || sum != crc32.Checksum(p[:indexHeader-4], castagnoli) ||
		int64(binary.BigEndian.Uint64(p[8:])) != x.base || place(binary.BigEndian.Uint32(p[48:])) != x.place || m.pos < 0 || m.next < x.base {
		return false, nil
	}
	x.synced = m
	x.times = appendTimes{binary.BigEndian.Uint32(p[52:]), binary.BigEndian.Uint32(p[56:])}
	x.count = int(binary.BigEndian.Uint32(p[40:]))
	x.crc = binary.BigEndian.Uint32(p[44:])
	return true, nil
}

// readable says whether anything can be read of the file.
func (x *index) readable() bool {
	var p [1]byte
	n, _ := x.file.readAt(p[:], 0)
	return n > 0
}

// reset makes the index that of an empty segment. Its file is not touched.
func (x *index) reset() {
	x.synced, x.times = mark{next: x.base, maxTime: minTime}, appendTimes{}
	x.count, x.crc, x.checked, x.held, x.tail, x.last, x.recent = 0, 0, false, nil, nil, 0, nil
}

// replace puts entries, which cover the segment up to end, in the place of those
// in the file and of what was noted below end.
func (x *index) replace(entries []entry, end int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.tail {
		if e.pos >= end {
			entries = append(entries, e)
		}
	}
	x.count, x.crc, x.checked, x.held, x.tail = 0, 0, true, nil, entries
}

// hold keeps the entries that are in the file from now on, because they can't be read
// there. They are given as they were written.
func (x *index) hold(entries []entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.held = entries[:min(x.count, len(entries))]
}

// note records that a batch begins at m: for good if the latest entry is interval bytes
// or more away, else until rest or until there are many later ones.
func (x *index) note(m mark, interval int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := entry{m.next, m.pos, m.maxTime}
	if m.pos > 0 && m.pos-x.last >= interval {
		x.tail = append(x.tail, e)
		x.last = m.pos
	}
	if len(x.recent) == maxRecent {
		x.recent = x.recent[:copy(x.recent, x.recent[maxRecent/2:])]
	}
	x.recent = append(x.recent, e)
}

// appended notes when something was appended to the segment.
func (x *index) appended(now uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.times = x.times.add(now)
}

// appendTimes are the times of the first append to the segment and of the last one. Those
// that lie ahead of now are corrected for good, with the next mark; latest is the latest
// time of its records.
func (x *index) appendTimes(now uint32, latest int64) (times appendTimes, corrected bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.times
	if now > 0 {
		x.times = old.trust(now, latest)
	}
	return x.times, x.times != old
}

// rest gives up what is only in memory and not for good.
func (x *index) rest() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.recent = nil
}

// mark is the sync mark as it was written last.
func (x *index) mark() mark {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.synced
}

// sync makes durable what was written, without keeping anybody from writing on.
func (x *index) sync() error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	return f.Sync()
}

// flush writes the entries up to m and then m itself as the mark. Sync is the
// caller's to call where it matters.
func (x *index) flush(m mark) error {
	return x.write(func() mark { return m })
}

// rewrite writes the entries up to the mark, which stays what it is.
func (x *index) rewrite() error {
	return x.write(func() mark { return x.synced })
}

// write is flush with the mark that to gives.
func (x *index) write(to func() mark) error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	x.mu.Lock()
	defer x.mu.Unlock()
	m := to()
	if err := x.flushTail(f, m); err != nil {
		return err
	}
	if _, err := f.WriteAt(x.header(m), 0); err != nil {
		return err
	}
	x.synced = m
	return nil
}

// flushTail writes the entries up to m. The caller holds mu.
func (x *index) flushTail(f vfs.File, m mark) error {
	n := sort.Search(len(x.tail), func(i int) bool { return x.tail[i].pos >= m.pos })
	if n == 0 {
		return nil
	}
	p := make([]byte, 0, n*entrySize)
	for _, e := range x.tail[:n] {
		p = e.append(p)
	}
	if _, err := f.WriteAt(p, indexHeader+int64(x.count)*entrySize); err != nil {
		return err
	}
	if x.held != nil {
		x.held = append(x.held[:x.count:x.count], x.tail[:n]...)
	}
	x.count += n
	x.crc = crc32.Update(x.crc, castagnoli, p)
	x.tail = append(x.tail[:0], x.tail[n:]...)
	return nil
}

// floor finds the last entry for which after is false, after being false for
// some first entries and true for all others; the segment's beginning if there
// is none. The entries in the file have been checked.
func (x *index) floor(after func(entry) bool) (entry, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, list := range [][]entry{x.recent, x.tail, x.held} {
		if i := sort.Search(len(list), func(i int) bool { return after(list[i]) }); i > 0 {
			return list[i-1], nil
		}
	}
	found := entry{offset: x.base, before: minTime}
	if x.count == 0 || x.held != nil {
		return found, nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return found, stale(err)
	}
	defer x.file.release()
	sort.Search(x.count, func(i int) bool {
		var p [entrySize]byte
		if _, e := f.ReadAt(p[:], indexHeader+int64(i)*entrySize); e != nil {
			err = e
			return true
		}
		e := parseEntry(p[:])
		if after(e) {
			return true
		}
		found = e // the search only moves up from here
		return false
	})
	return found, stale(err)
}

// above finds the first entry behind a position and an offset; none if there is none, or
// none that can be read and has been checked.
func (x *index) above(pos, offset int64) (found entry, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	behind := func(e entry) bool { return e.pos > pos && e.offset > offset }
	for _, list := range [][]entry{x.recent, x.tail, x.held} {
		i := sort.Search(len(list), func(i int) bool { return behind(list[i]) })
		if i < len(list) && (!ok || list[i].pos < found.pos) {
			found, ok = list[i], true
		}
	}
	if x.count == 0 || x.held != nil || !x.checked {
		return found, ok
	}
	f, err := x.file.acquire()
	if err != nil {
		return found, ok
	}
	defer x.file.release()
	sort.Search(x.count, func(i int) bool {
		var p [entrySize]byte
		if _, err := f.ReadAt(p[:], indexHeader+int64(i)*entrySize); err != nil {
			return false
		}
		e := parseEntry(p[:])
		if !behind(e) {
			return false
		}
		if !ok || e.pos < found.pos {
			found, ok = e, true
		}
		return true
	})
	return found, ok
}

// stale turns an error by which entries can't be read, or are not there any more, into
// errStale: the index is built again.
func stale(err error) error {
	if vfs.IsUnreadable(err) || isNotExist(err) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it can't be read: %w", errStale, err)
	}
	return err
}

// reread is check of what has been written just now.
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

// check reads the entries in the file once and returns an error, for which the
// index is to be built again, if they are not what was written.
func (x *index) check() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.checked || x.count == 0 {
		x.checked = true
		return nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return stale(err)
	}
	defer x.file.release()
	size, err := f.Size()
	if err != nil {
		return stale(err)
	}
	if want := indexHeader + int64(x.count)*entrySize; size < want {
		return fmt.Errorf("%w: it has %d bytes, its header says %d", errStale, size, want)
	}
	p := make([]byte, x.count*entrySize)
	if _, err := f.ReadAt(p, indexHeader); err != nil {
		return stale(err)
	}
	if crc32.Checksum(p, castagnoli) != x.crc {
		return fmt.Errorf("%w: the CRC of its %d entries is wrong", errStale, x.count)
	}
	x.checked = true
	return nil
}
