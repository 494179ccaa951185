package commitlog

import "math"

// found is the result of readTail.
type found struct {
	end    position // behind the last valid batch
	valid  []span   // where the valid batches are, ascending
	holes  []lostOffsets
	used   int64 // behind the last byte that is not zero, if reason is not nil
	reason error // why the bytes from end to used are no batch; nil if there are none but zeros
}

// A span is a range of bytes in a segment.
type span struct{ from, to int64 }

// lostOffsets can't be read; the damaged bytes begin at pos.
type lostOffsets struct {
	first, next, pos int64
	reason           error
}

// readTail reads the segment from a position to the end of the file, and adds the valid batches to the
// index. The bytes up to durable were durable, whatever the search is.
func (s *segment) readTail(from position, size int64, search search, durable int64) (found, error) {
	out := found{end: from}
	if from.pos == size { // as after a clean close: the file is not opened
		return out, nil
	}
	w := s.scan(view{end: size, next: math.MaxInt64}, entry{from.next, from.pos, from.maxTime})
	defer w.close()
	w.win.step, w.search, w.durable, w.ahead = 1<<20, search, durable, true
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

// add adds the valid batch from pos to end.
func (f *found) add(pos int64, end position) {
	if n := len(f.valid); n > 0 && f.valid[n-1].to == pos {
		f.valid[n-1].to = end.pos
	} else {
		f.valid = append(f.valid, span{pos, end.pos})
	}
	f.end = end
}
