package commitlog

import (
	"time"

	"mbus/internal/store"
)

// SetPointsEvery sets after what time recovery points are synced, from the next on that moves.
func (s *Store) SetPointsEvery(d time.Duration) {
	s.points.mu.Lock()
	defer s.points.mu.Unlock()
	s.points.every = d
}

// PointsAreDurable says whether no recovery point waits for its sync, so that nothing wakes up.
func (s *Store) PointsAreDurable() bool {
	s.points.mu.Lock()
	defer s.points.mu.Unlock()
	return len(s.points.queue) == 0 && s.points.timer == nil
}

// IsAtRecoveryPoint says whether the recovery point is at the log's end.
func IsAtRecoveryPoint(p store.Partition) bool {
	c := &p.(*partition).commits
	c.syncing.Lock()
	defer c.syncing.Unlock()
	s, end := c.end()
	return s.index.recoveryPoint() == end
}

// Syncs is how many syncs of segments run or are about to.
func (s *Store) Syncs() int { return len(s.syncs) }

// SetHealAfter sets after what time it is tried to heal logs, of the topics that are made
// from now on.
func (s *Store) SetHealAfter(d time.Duration) { s.healAfter = d }

// BadSpans is how many parts of the active segment are remembered that can't be read.
func BadSpans(p store.Partition) int {
	s := p.(*partition).visible.active()
	return len(s.sectors.in(0, 1<<62))
}
