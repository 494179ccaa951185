package schedule

import "mbus/internal/store"

// Notes are those that have still to be written to the log.
type notes struct {
	unnoted []int64 // offsets that have been delivered or cancelled
	failing bool    // a note could not be written, which has been reported
}

// note notes messages as delivered, or dropped, and frees what space it can. The channel is
// closed when the note is durable, or has failed: then it is written again with the next one.
func (s *Schedule) note(messages []due, to arrival) <-chan struct{} {
	noted := make(chan struct{})
	s.mu.Lock()
	s.usage.left -= len(messages)
	offsets := s.notes.unnoted
	s.notes.unnoted = nil
	for _, m := range messages {
		offsets = append(offsets, s.moves.offsetsOf(m.offset)...)
	}
	log := s.log
	s.mu.Unlock()
	if len(offsets) == 0 {
		close(noted)
		return noted
	}
	p := buildNote(offsets, to, s.Now(), s.BatchBytes)
	finish := func(base int64, err error) {
		cut := s.noteEnded(offsets, base, int64(len(p)), err)
		if err == nil && cut == 0 {
			close(noted)
			return
		}
		go func() { // not here, where the log may not be called
			defer close(noted)
			if err == nil {
				err = s.trim(cut)
			}
			if err != nil && !store.Ended(err) && s.noteFails() {
				s.Report.Error("it could not be noted that delayed messages have been delivered: after a restart they may be delivered again", "topic", Topic, "notes", len(offsets), "reason", err)
			}
		}()
	}
	if err := store.Append(log, p, finish); err != nil {
		finish(0, err)
	}
	return noted
}

// noteCancelled notes cancelled messages as dropped.
func (s *Schedule) noteCancelled() {
	s.mu.Lock()
	some := len(s.notes.unnoted) > 0
	s.mu.Unlock()
	if some {
		<-s.note(nil, arrival{})
	}
}

// noteEnded handles the outcome of a note, and returns the offset to which the log may be
// trimmed, because nothing before it waits; 0 for not now. Later messages are behind it.
func (s *Schedule) noteEnded(offsets []int64, base, size int64, err error) (cut int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.notes.unnoted = append(s.notes.unnoted, offsets...)
		return 0
	}
	s.usage.bytes += size
	s.notes.failing = false
	if s.usage.left > 0 || s.moves.mover != nil || s.keepsDamage(base) {
		return 0
	}
	s.Hide(base)
	return s.usage.cut(base, s.CompactBytes)
}

// noteFails notes that a note could not be written, and says whether that is to be reported:
// once until one is written.
func (s *Schedule) noteFails() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.notes.failing
	s.notes.failing = true
	return first
}
