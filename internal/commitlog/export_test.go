package commitlog

import (
	"time"

	"mbus/internal/store"
)

// SetMarksEvery sets after what time sync marks are synced, from the next on that moves.
func (s *Store) SetMarksEvery(d time.Duration) {
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	s.marks.every = d
}

// MarksRest says whether no sync mark waits for its sync, so that nothing wakes up.
func (s *Store) MarksRest() bool {
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	return len(s.marks.queue) == 0 && s.marks.timer == nil
}

// IsMarked says whether the sync mark is at the log's end.
func IsMarked(p store.Partition) bool {
	l := p.(*partition)
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active().index.mark() == l.written
}

// Syncs is how many syncs of segments run or are about to.
func (s *Store) Syncs() int { return len(s.syncs) }

// SetHealAfter sets after what time it is tried to heal logs, of the topics that are made
// from now on.
func (s *Store) SetHealAfter(d time.Duration) { s.healAfter = d }

// BadSpans is how many parts of the active segment are remembered that can't be read.
func BadSpans(p store.Partition) int {
	s := p.(*partition).active()
	return len(s.sectors.in(0, 1<<62))
}
