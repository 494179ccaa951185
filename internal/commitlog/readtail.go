package commitlog

import "math"

// What readTail has found in a segment behind a mark.
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

// readTail reads the segment from a mark to the end of the file, and notes the sound batches in the
// index.
func (s *segment) readTail(from mark, size int64, search search) (found, error) {
	w := s.scan(view{end: size, next: math.MaxInt64}, entry{from.next, from.pos, from.maxTime})
	defer w.close()
	w.win.step, w.search, w.ahead = 1<<20, search, true
	out := found{end: from}
	for w.nextChecked() {
		switch {
		case w.kind == isBatch:
			s.index.note(w.at, s.log.indexInterval)
			out.add(w.at.pos, w.end())
		case w.last:
			out.reason, out.used = w.reason, w.used
		case w.to.next > w.at.next:
			out.holes = append(out.holes, lostOffsets{w.at.next, w.to.next, w.at.pos, w.reason})
		}
	}
	return out, w.err
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
