package group

import "errors"

// Why a message is not reopened. Test with errors.Is.
var (
	ErrNoPosition = errors.New("nothing is kept of the position")
	ErrAssigned   = errors.New("a Kafka client moved the position last")
	ErrFull       = errors.New("the position can't keep more messages that lie between others")
	ErrDying      = errors.New("it is on its way to the dead letters")
)

// liveRuns is how many spans, of those that the positions log keeps, Reopen leaves to members,
// which acknowledge out of turn meanwhile.
const liveRuns = 1000

// Reopen makes a consumed message free again, for this group alone: its neighbours stay
// consumed. Its attempts are counted from 1 again, and members get it at once. A message that
// is not consumed stays as it is. The change is durable at the next Groups.Sync.
//
// The error is ErrNoPosition if the group has not begun; ErrAssigned if a Kafka client moved
// the position last, because the next one would know no more than the committed offset,
// and get all that was consumed above; ErrFull if there would be more spans than the
// positions log keeps beside those of members: they would come again after a restart; or
// ErrDying if neither Bury nor Unbury has been called for the message. The caller prevents
// that a Kafka client joins the group meanwhile.
func (p *Position) Reopen(offset int64) error {
	p.mu.Lock()
	if err := p.mayReopen(offset); err != nil {
		p.mu.Unlock()
		return err
	}
	if !p.leases.reopen(offset) {
		p.mu.Unlock()
		return nil
	}
	p.kept.info.metadata, p.kept.info.epoch = "", NoEpoch
	p.kept.mark()
	p.finish(true)
	return nil
}

// mayReopen is the error of Reopen. The caller holds mu.
func (p *Position) mayReopen(offset int64) error {
	switch {
	case p.kept.unsaved || p.kept.gone.Load():
		return ErrNoPosition
	case p.kept.info.assigned:
		return ErrAssigned
	case p.leases.runs() >= maxAckedAhead-liveRuns:
		return ErrFull
	case p.leases.holds(failed, offset) && !p.failures.isRetried(offset):
		return ErrDying
	}
	return nil
}

// Remembers reports whether the positions log keeps as many more spans as n messages that are
// consumed out of turn can make: if not, some of what is consumed above the committed
// offset may come again after a restart.
func (p *Position) Remembers(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases.runs()+n <= maxAckedAhead
}
