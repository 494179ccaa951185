package commitlog

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/vfs"
)

const (
	blockBytes  = 4096 // what a disk or the page cache reads at once
	sectorBytes = 512  // the least that a disk reads

	// badFor is the least time before an unreadable sector is read again: a disk may try for seconds
	// each time. A sector that can be read by then is used again.
	badFor = time.Second

	// slowDisk is the duration from which a failed read shows that the disk has retried it.
	slowDisk = 100 * time.Millisecond

	maxBad   = 4096 // spans that are remembered of a segment
	maxAgain = 3    // times that a read fails although each of its sectors can be read
)

// A badSpan is bytes of a segment that can't be read.
type badSpan struct {
	from, to int64
	err      error
	until    time.Time // not tried again before
}

// sectors are the bytes of a segment that could not be read lately.
type sectors struct {
	some atomic.Bool // there are any

	mu  sync.Mutex // guards what follows
	bad []badSpan  // ascending, apart

	look sync.Mutex // held by the one that looks for more
}

// in are the spans that overlap the bytes between two positions.
func (k *sectors) in(from, to int64) (list []badSpan) {
	if !k.some.Load() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.bad = slices.DeleteFunc(k.bad, func(b badSpan) bool { return now.After(b.until) })
	k.some.Store(len(k.bad) > 0)
	for _, b := range k.bad {
		if b.from < to && b.to > from {
			list = append(list, b)
		}
	}
	return list
}

// add remembers spans.
func (k *sectors) add(spans []badSpan) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bad = joined(append(k.bad, spans...))
	k.bad = k.bad[:min(len(k.bad), maxBad)]
	k.some.Store(len(k.bad) > 0)
}

// joined sorts spans, and makes one of those that touch.
func joined(spans []badSpan) []badSpan {
	slices.SortFunc(spans, func(a, b badSpan) int { return int(max(-1, min(1, a.from-b.from))) })
	kept := spans[:0]
	for _, b := range spans {
		n := len(kept)
		if n == 0 || b.from > kept[n-1].to {
			kept = append(kept, b)
			continue
		}
		last := &kept[n-1]
		last.to = max(last.to, b.to)
		if b.until.After(last.until) {
			last.until = b.until
		}
	}
	return kept
}

// A sectorReader reads a segment's file; all reading goes through one. It returns filling for bytes
// that the disk can't read, which must never be written or served: lost finds them. One goroutine at
// a time may use it.
type sectorReader struct {
	f       vfs.File
	segment *segment
	bad     []badSpan // of what has been read
}

// reader opens the segment's file for reading until close.
func (s *segment) reader() (*sectorReader, error) {
	f, err := s.file.acquire()
	if err != nil {
		return nil, err
	}
	return &sectorReader{f: f, segment: s}, nil
}

func (r *sectorReader) close() { r.segment.file.release() }

// lost says why some of the bytes between two positions, which have been read, can't be
// read; nil if all of them can.
func (r *sectorReader) lost(from, to int64) error {
	i := sort.Search(len(r.bad), func(i int) bool { return r.bad[i].to > from })
	if i == len(r.bad) || r.bad[i].from >= to {
		return nil
	}
	b := r.bad[i]
	return fmt.Errorf("%w: %d bytes at byte %d can't be read: %w", errDamaged, b.to-b.from, b.from, b.err)
}

// readable calls f with each part of p, read from pos, that is what the disk holds.
func (r *sectorReader) readable(p []byte, pos int64, f func(p []byte, pos int64) error) error {
	end := pos + int64(len(p))
	for at := pos; at < end; {
		next := badSpan{from: end, to: end}
		if i := sort.Search(len(r.bad), func(i int) bool { return r.bad[i].to > at }); i < len(r.bad) && r.bad[i].from < end {
			next = r.bad[i]
		}
		if next.from > at {
			if err := f(p[at-pos:next.from-pos], at); err != nil {
				return err
			}
		}
		at = next.to
	}
	return nil
}

// ReadAt implements io.ReaderAt. If nothing of a device can be read, that is an error and not
// damage.
func (r *sectorReader) ReadAt(p []byte, pos int64) (int, error) {
	known := r.segment.sectors.in(pos, pos+int64(len(p)))
	if len(known) == 0 {
		n, err := vfs.ReadAt(r.f, p, pos)
		if err == nil || !vfs.IsUnreadable(err) {
			return n, err
		}
	}
	return r.piecemeal(p, pos)
}

// filling is what stands for a byte that can't be read. It begins no batch.
const filling = 0xD7

// piecemeal reads what can be read of p, and remembers what can't.
func (r *sectorReader) piecemeal(p []byte, pos int64) (got int, end error) {
	k := &r.segment.sectors
	k.look.Lock()
	defer k.look.Unlock()
	known := k.in(pos, pos+int64(len(p)))
	alive := len(known) > 0 // some of the file could be read when these were found
	var found []badSpan
	for step, again := len(p), 0; got < len(p) && end == nil; {
		at := pos + int64(got)
		if b, ok := spanAt(known, at); ok {
			n := int(min(b.to-at, int64(len(p)-got)))
			fill(p[got : got+n])
			got += n
			continue
		}
		if step <= blockBytes {
			step = int(at | (blockBytes - 1) + 1 - at)
		}
		n, err := vfs.ReadAt(r.f, p[got:got+min(step, untilNext(known, at), len(p)-got)], at)
		got += n
		alive = alive || n > 0
		switch {
		case err == nil:
			step *= 2
		case !vfs.IsUnreadable(err):
			end = err
		case n > 0 || step > blockBytes:
			step = blockBytes
		default:
			list := r.locate(at, err)
			found, known = append(found, list...), append(known, list...)
			if len(list) > 0 {
				continue
			}
			if again++; again > maxAgain {
				end = err
			}
		}
	}
	if err := r.remember(found, alive); err != nil {
		return 0, err
	}
	r.note(known)
	return got, end
}

// note keeps the spans for lost and readable.
func (r *sectorReader) note(spans []badSpan) {
	r.bad = joined(append(r.bad, spans...))
}

// remember keeps what was found, unless nothing at all can be read.
func (r *sectorReader) remember(found []badSpan, alive bool) error {
	if len(found) == 0 {
		return nil
	}
	if !alive && !r.alive() {
		return found[0].err
	}
	r.segment.sectors.add(found)
	for _, b := range found {
		r.segment.verified.cut(b.from, b.to)
	}
	r.segment.log.warn("part of a file can't be read; look at the disk", "file", r.segment.file.name,
		"position", found[0].from, "bytes", found[len(found)-1].to-found[0].from, "reason", found[0].err)
	return nil
}

// locate finds the sectors, from that of at to the end of its block, that can't be read.
// There are none if all can be read now. On a slow disk those between the first and the last such
// one are not tried, and the pause before the next attempt is longer.
func (r *sectorReader) locate(at int64, err error) (list []badSpan) {
	from, to := at&^(sectorBytes-1), at|(blockBytes-1)+1
	began := time.Now()
	for from < to && r.reads(from) {
		from += sectorBytes
	}
	slow := time.Since(began) > slowDisk
	for to > from && r.reads(to-sectorBytes) {
		to -= sectorBytes
	}
	for pos := from; pos < to; pos += sectorBytes {
		if !slow && pos > from && pos < to-sectorBytes && r.reads(pos) {
			continue
		}
		if n := len(list); n > 0 && list[n-1].to == pos {
			list[n-1].to += sectorBytes
		} else {
			list = append(list, badSpan{from: pos, to: pos + sectorBytes, err: err})
		}
	}
	now := time.Now()
	for i := range list {
		list[i].until = now.Add(max(badFor, 10*now.Sub(began)))
	}
	return list
}

// reads says whether a sector can be read.
func (r *sectorReader) reads(pos int64) bool {
	var p [sectorBytes]byte
	_, err := vfs.ReadAt(r.f, p[:], pos)
	return err == nil || !vfs.IsUnreadable(err)
}

// alive says whether any byte of the file can be read; for a file of one block, whether any of the
// index can.
func (r *sectorReader) alive() bool {
	size, err := r.f.Size()
	if err != nil {
		return false
	}
	const probes = 8
	for i := range int64(probes + 1) {
		var p [1]byte
		n, err := vfs.ReadAt(r.f, p[:], min(size-1, size/probes*i&^(sectorBytes-1)))
		if n > 0 && err == nil {
			return true
		}
	}
	if size > blockBytes {
		return false
	}
	return r.segment.index.readable()
}

// hasLost says whether the last block of a segment is unreadable in front of the segment's end. Then
// no append can be written behind it either, because the system would read the block first.
func (s *segment) hasLost(end int64) bool {
	var p [blockBytes]byte
	from := end &^ (blockBytes - 1)
	n, err := s.readAt(p[:end-from], from)
	return vfs.IsUnreadable(err) || err == nil && int64(n) < end-from
}

func spanAt(list []badSpan, pos int64) (badSpan, bool) {
	i := slices.IndexFunc(list, func(b badSpan) bool { return b.from <= pos && pos < b.to })
	if i < 0 {
		return badSpan{}, false
	}
	return list[i], true
}

// untilNext is how many bytes there are from pos to the next span.
func untilNext(list []badSpan, pos int64) int {
	n := int64(1 << 30)
	for _, b := range list {
		if b.from > pos {
			n = min(n, b.from-pos)
		}
	}
	return int(n)
}

func fill(p []byte) {
	for i := range p {
		p[i] = filling
	}
}
