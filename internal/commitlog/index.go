package commitlog

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"sort"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/vfs"
)

// The index file beside a segment holds the recovery point in its header, and then
// entries that ascend in offset, position and time alike, so that one array is
// searched by each of them:
//
//	 0        8       16       24       32       40      44        48      52       60    64
//	+--------+-------+--------+--------+--------+-------+---------+-------+--------+-----+
//	| magic  | base  | synced | synced | max    | entry | entries | leader| append | CRC |
//	|mbusidx2| offset| bytes  | next   | time   | count | CRC     | epoch | times  |     |
//	+--------+-------+--------+--------+--------+-------+---------+-------+--------+-----+
//	| offset | position | max time before |  … count times, 24 bytes each
//	+--------+----------+-----------------+
//
// The recovery point says that the segment's first "synced bytes" bytes have been synced
// and end before offset "synced next". It is written after each sync, and synced
// itself in the background (recoveryPoints), so after a power cut it may be older than the
// truth, never newer. An index that is missing, stale or damaged is built again from the
// segment.
const (
	indexMagic  = "mbusidx2"
	indexHeader = 64
	entrySize   = 24
	entriesMax  = 8192 // a segment; the interval between entries follows from it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A position is one in a segment, between batches or at its end, and the offset there.
type position struct {
	pos     int64 // bytes before it
	next    int64 // offset of the first record after it
	maxTime int64 // latest time of any record before it, minTime if none
}

// behind is the position behind a batch that begins at m: its header, and its size in
// bytes.
func (m position) behind(h batch.Batch, size int) position {
	return position{m.pos + int64(size), h.NextOffset(), max(m.maxTime, h.MaxTimestamp())}
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
	epoch leaderEpoch

	writes sync.Mutex // held over what changes the file; taken before mu

	mu      sync.Mutex // guards what follows; the file is neither read nor written under it
	version int        // of what is in the file but for what is added to it
	synced  position   // as the header says
	times   appendTimes
	count   int     // entries in the file
	crc     uint32  // of the entries in the file
	checked bool    // the entries in the file have been read and are valid
	held    []entry // those in the file, if they can't be read there
	tail    []entry // not in the file yet
	last    int64   // position of the latest entry
	recent  []entry // the latest batches, each of them, while the log is appended to
}

// maxRecent bounds recent. Half of it is more than one sync acknowledges of publishers that send one
// message at a time, so that a consumer that follows the log finds its position without reading.
const maxRecent = 128

// header encodes the header with m as the recovery point.
func (x *index) header(m position) []byte {
	p := make([]byte, 0, indexHeader)
	p = append(p, indexMagic...)
	p = binary.BigEndian.AppendUint64(p, uint64(x.base))
	p = binary.BigEndian.AppendUint64(p, uint64(m.pos))
	p = binary.BigEndian.AppendUint64(p, uint64(m.next))
	p = binary.BigEndian.AppendUint64(p, uint64(m.maxTime))
	p = binary.BigEndian.AppendUint32(p, uint32(x.count))
	p = binary.BigEndian.AppendUint32(p, x.crc)
	p = binary.BigEndian.AppendUint32(p, uint32(x.epoch))
	p = binary.BigEndian.AppendUint32(p, x.times.first)
	p = binary.BigEndian.AppendUint32(p, x.times.last)
	return binary.BigEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// open reads the header. Without a valid one it returns false, and the index is empty with its
// recovery point at the segment's beginning.
func (x *index) open() (bool, error) {
	p, err := x.readHeader()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reset()
	if err != nil || len(p) < indexHeader {
		return false, err
	}
	sum := binary.BigEndian.Uint32(p[indexHeader-4:])
	m := position{
		pos:     int64(binary.BigEndian.Uint64(p[16:])),
		next:    int64(binary.BigEndian.Uint64(p[24:])),
		maxTime: int64(binary.BigEndian.Uint64(p[32:])),
	}
	if string(p[:8]) != indexMagic || sum != crc32.Checksum(p[:indexHeader-4], castagnoli) ||
		int64(binary.BigEndian.Uint64(p[8:])) != x.base || leaderEpoch(binary.BigEndian.Uint32(p[48:])) != x.epoch || m.pos < 0 || m.next < x.base {
		return false, nil
	}
	x.synced = m
	x.times = appendTimes{binary.BigEndian.Uint32(p[52:]), binary.BigEndian.Uint32(p[56:])}
	x.count = int(binary.BigEndian.Uint32(p[40:]))
	x.crc = binary.BigEndian.Uint32(p[44:])
	return true, nil
}

// readHeader reads as much of the header as can be read.
func (x *index) readHeader() ([]byte, error) {
	p := make([]byte, indexHeader)
	n, err := x.file.readAt(p, 0)
	if isNotExist(err) || vfs.IsUnreadable(err) {
		err = nil
	}
	return p[:n], err
}

// readable says whether any byte of the file can be read.
func (x *index) readable() bool {
	var p [1]byte
	n, _ := x.file.readAt(p[:], 0)
	return n > 0
}

// reset empties the index in memory.
func (x *index) reset() {
	x.version++
	x.synced, x.times = position{next: x.base, maxTime: minTime}, appendTimes{}
	x.count, x.crc, x.checked, x.held, x.tail, x.last, x.recent = 0, 0, false, nil, nil, 0, nil
}

// replace replaces the entries in the file, and those noted below end, by entries that cover the
// segment up to end.
func (x *index) replace(entries []entry, end int64) {
	x.writes.Lock()
	defer x.writes.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.version++
	for _, e := range x.tail {
		if e.pos >= end {
			entries = append(entries, e)
		}
	}
	x.count, x.crc, x.checked, x.held, x.tail = 0, 0, true, nil, entries
}

// hold keeps the entries of the file in memory, because they can't be read from it.
func (x *index) hold(entries []entry) {
	x.writes.Lock()
	defer x.writes.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.held = entries[:min(x.count, len(entries))]
}

// note notes that a batch begins at m: as an entry if the latest one is at least interval bytes
// before, else among the recent ones.
func (x *index) note(m position, interval int64) {
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

// appendTimes returns the times of the first and the last append to the segment. It corrects times
// ahead of now, which the next recovery point makes durable; latest is the latest time of its records.
func (x *index) appendTimes(now uint32, latest int64) (times appendTimes, corrected bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.times
	if now > 0 {
		x.times = old.trust(now, latest)
	}
	return x.times, x.times != old
}

// lastAppend returns the time of the last append to the segment; zero if it is not known.
func (x *index) lastAppend() time.Time {
	times, _ := x.appendTimes(0, minTime)
	if times.last == 0 || times.last >= lastTime {
		return time.Time{}
	}
	return time.UnixMilli(millis(times.last))
}

// dropRecent drops the recent batches.
func (x *index) dropRecent() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.recent = nil
}

// recoveryPoint returns the recovery point that was written last.
func (x *index) recoveryPoint() position {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.synced
}

// sync makes all writes to the file durable. Others may write meanwhile.
func (x *index) sync() error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	return f.Sync()
}

// flush writes the entries up to m, and then m as the recovery point. It does not sync.
func (x *index) flush(m position) error {
	return x.write(func() position { return m })
}

// rewrite writes the entries up to the present recovery point, and the header.
func (x *index) rewrite() error {
	return x.write(func() position { return x.synced })
}

// write is flush with the recovery point that to gives. It is called near the end of a goroutine's
// first stack, which must not grow: the header is made and written here.
func (x *index) write(to func() position) error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	x.writes.Lock()
	defer x.writes.Unlock()
	m, err := x.writeTail(f, to)
	if err != nil {
		return err
	}
	x.mu.Lock()
	header := x.header(m)
	x.mu.Unlock()
	if _, err := f.WriteAt(header, 0); err != nil {
		return err
	}
	x.setRecoveryPoint(m)
	return nil
}

func (x *index) setRecoveryPoint(m position) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.synced = m
}

// writeTail writes the entries up to the recovery point that to gives. The caller holds writes.
func (x *index) writeTail(f vfs.File, to func() position) (m position, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m = to()
	if p, n := x.encodeTail(m); n > 0 {
		at := indexHeader + int64(x.count)*entrySize
		x.mu.Unlock()
		_, err = f.WriteAt(p, at)
		x.mu.Lock()
		if err != nil {
			return m, err
		}
		x.written(p, n)
	}
	return m, nil
}

// encodeTail encodes the entries up to m that are not in the file yet, and counts them.
func (x *index) encodeTail(m position) (p []byte, n int) {
	n = sort.Search(len(x.tail), func(i int) bool { return x.tail[i].pos >= m.pos })
	if n == 0 {
		return nil, 0
	}
	p = make([]byte, 0, n*entrySize)
	for _, e := range x.tail[:n] {
		p = e.append(p)
	}
	return p, n
}

// written notes that the first n entries of the tail, encoded as p, are in the file.
func (x *index) written(p []byte, n int) {
	if x.held != nil {
		x.held = append(x.held[:x.count:x.count], x.tail[:n]...)
	}
	x.count += n
	x.crc = crc32.Update(x.crc, castagnoli, p)
	x.tail = append(x.tail[:0], x.tail[n:]...)
}
