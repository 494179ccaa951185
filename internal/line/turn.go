package line

import (
	"runtime"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
)

// Turns bound what readers hold of compressed batches while they send it: each may
// expand to batch.DefaultMaxExpanded bytes, and a reader may be slow. Those that
// need much wait for a turn, and who has had one for long gives it up.
type turns struct {
	free    chan struct{} // holds as many as there are turns taken
	waiting atomic.Int32
}

const (
	// turnTime is how long a turn lasts while others wait for one.
	turnTime = 250 * time.Millisecond

	// smallExpansion is what a batch may expand to, in bytes, and its reader keep
	// without a turn.
	smallExpansion = 256 << 10
)

func newTurns() *turns {
	return &turns{free: make(chan struct{}, max(4, runtime.GOMAXPROCS(0)))}
}

// beginTurn waits for a turn if a batch needs one. The client may have left
// meanwhile.
func (s *sender) beginTurn(b batch.Batch) error {
	if !b.Compressed() || !s.turn.IsZero() {
		return nil
	}
	turns := s.server.turns
	select {
	case turns.free <- struct{}{}:
	default:
		<-s.server.loads // so that who waits holds up nobody
		turns.waiting.Add(1)
		turns.free <- struct{}{}
		turns.waiting.Add(-1)
		s.server.loads <- struct{}{}
		if _, err := s.net.Unacknowledged(); err != nil {
			<-turns.free
			return err
		}
	}
	s.turn = time.Now()
	return nil
}

// expand points the iterator at a batch that there is a turn for, and ends it if
// that has not taken much.
func (s *sender) expand(b batch.Batch) error {
	err := s.it.Reset(b)
	if s.it.Expanded() <= smallExpansion {
		s.endTurn()
	} else if !s.turn.IsZero() {
		s.turn = time.Now()
	}
	return err
}

// endTurn gives up what was expanded, if it was much.
func (s *sender) endTurn() {
	if s.it.Expanded() > smallExpansion {
		s.it = batch.Iterator{}
	}
	if !s.turn.IsZero() {
		s.turn = time.Time{}
		<-s.server.turns.free
	}
}

// turnIsOver says whether it is time to let others have the turn.
func (s *sender) turnIsOver() bool {
	return !s.turn.IsZero() && s.server.turns.waiting.Load() > 0 && time.Since(s.turn) > turnTime
}
