package commitlog

import (
	"bytes"
	"math"
)

// lastUsed is the position behind the last byte from pos to size that is not zero;
// pos if there is none.
func lastUsed(s *segment, pos, size int64) (int64, error) {
	f, err := s.reader()
	if err != nil {
		return pos, err
	}
	defer f.close()
	w, end := window{f: f, end: size, step: 1 << 20}, pos
	for at := pos; at < size; at += 1 << 20 {
		p, err := w.at(at, 1<<20)
		if err != nil {
			return pos, err
		}
		if used := bytes.TrimRight(p, "\x00"); len(used) > 0 {
			end = at + int64(len(used))
		}
	}
	return end, nil
}

// What scan has found in a segment behind a mark.
type found struct {
	end    mark   // behind the last sound batch
	sound  []span // where the sound batches are, ascending
	holes  []lostOffsets
	used   int64 // behind the last byte that is not zero, if reason is not nil
	reason error // why the bytes from end to used are no batch; nil if there are none but zeros
}

// A span is a range of bytes in a segment.
type span struct{ from, to int64 }

// lostOffsets can't be read; the bytes in their place begin at pos.
type lostOffsets struct {
	first, next, pos int64
	reason           error
}

// scanning says what is known of what a scan reads.
type scanning int

const (
	anywhere   scanning = iota
	behindMark          // it lies behind the sync mark
	behindCut           // what is not sound there was torn by a power cut: nothing behind it was synced
)

// scan reads the segment from a mark to its end, past what is not sound where sound
// batches follow, and notes these in the index.
func (s *segment) scan(from mark, size int64, how scanning) (found, error) {
	w := walk(s, view{end: size, next: math.MaxInt64}, entry{from.next, from.pos, from.maxTime})
	defer w.close()
	w.win.step, w.strict = 1<<20, true
	out := found{end: from, used: -1}
	for {
		more := w.nextSound()
		if !more && w.hole != nil && w.err == nil {
			var err error
			if more, err = out.pass(s, w, size, how); err != nil {
				return out, err
			}
		}
		if !more {
			return out, w.err
		}
		s.index.note(w.at, s.log.indexInterval)
		out.add(w.at.pos, w.end())
	}
}

// add takes in the sound batch from pos to end.
func (f *found) add(pos int64, end mark) {
	if n := len(f.sound); n > 0 && f.sound[n-1].to == pos {
		f.sound[n-1].to = end.pos
	} else {
		f.sound = append(f.sound, span{pos, end.pos})
	}
	f.end = end
}

// pass moves w from a place that is not sound to the next batch that is, if there is
// one. Zeros up to the end of the file are space that was allocated ahead.
func (f *found) pass(s *segment, w *walker, size int64, how scanning) (more bool, err error) {
	pos, reason := w.bad, w.hole
	if f.used < 0 {
		if f.used, err = lastUsed(s, pos, size); err != nil {
			return false, err
		}
	}
	if pos >= f.used {
		return false, nil
	}
	if how == behindCut {
		f.reason = reason
		return false, nil
	}
	more = w.goOn(reason, how == behindMark)
	switch {
	case w.err != nil:
	case !more:
		f.reason = reason
	case w.h.BaseOffset() > f.end.next:
		f.holes = append(f.holes, lostOffsets{f.end.next, w.h.BaseOffset(), pos, reason})
	}
	return more, nil
}

// goOn moves from where no batch is to the next sound one, if there is any. Offsets have no
// checksum: a batch that begins just there is none if its offset is higher than it can be;
// nor, behind the sync mark, where only batches were written, is one further on whose offset
// leaves none for what lies between.
func (w *walker) goOn(reason error, behind bool) bool {
	strict, pos, at := w.strict, w.at.pos, w.at
	w.strict = false
	more := w.skip(reason)
	for more {
		end, records := w.end().pos, w.h.NextOffset()-w.h.BaseOffset()
		if w.at.pos == at.pos && w.h.BaseOffset() > at.next {
			at = mark{end, at.next + records, at.maxTime}
		} else if !behind || w.at.pos == at.pos || w.h.BaseOffset() > at.next {
			break
		}
		w.at = mark{end, at.next, at.maxTime}
		more = w.skip(reason)
	}
	w.strict, w.bad = strict, pos
	return more
}
