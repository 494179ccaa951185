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

// A JournalFrame is a frame of a journal file.
type JournalFrame struct {
	Topic       store.Topic
	Number      int
	Base, Pos   int64
	First, Next int64
	Data        []byte
}

// JournalFile is the content of a journal file with these rounds, and where each frame begins.
func JournalFile(salt uint64, rounds ...[]JournalFrame) (p []byte, at []int) {
	for i, round := range rounds {
		p = append(p, make([]byte, roundUp(len(p), roundAlign)-len(p))...)
		for k, f := range round {
			at = append(at, len(p))
			p = appendFrame(p, salt, uint64(i+1), k, len(round),
				frame{f.Topic.ID, int32(f.Number), epochOf(f.Topic, f.Number), f.Base, f.Pos, f.First, f.Next}, f.Data)
		}
	}
	return append(p, make([]byte, roundUp(len(p), roundAlign)-len(p)+roundAlign)...), at
}

// JournalName is the name of a journal file.
func JournalName(generation, salt uint64) string { return journalName{generation, salt}.String() }

// EncodeTopic and DecodeTopic write and read topic.json.
var (
	EncodeTopic = encodeTopic
	DecodeTopic = decodeTopic
)
