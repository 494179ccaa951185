package group

import (
	"errors"
	"slices"
)

// Why a message is not reopened. Test with errors.Is.
var (
	ErrNoPosition = errors.New("nothing is kept of the position")
	ErrAssigned   = errors.New("a Kafka client moved the position last")
	ErrFull       = errors.New("the position can't keep more messages that lie between others")
	ErrDying      = errors.New("it is on its way to the dead letters")
)

// liveRuns is how many spans, of those that the journal keeps, Reopen leaves to members,
// which acknowledge out of turn meanwhile.
const liveRuns = 1000

// Reopen has a message that was consumed be consumed again, by this group alone: what
// was consumed around it stays so. Its attempts are counted from 1 again, and members get it at
// once. A message that is not consumed stays as it is. What has changed is durable at the
// next Groups.Sync.
//
// The error is ErrNoPosition if the group has not begun; ErrAssigned if a Kafka client moved
// the position last, because the next one would know no more than the committed offset,
// and get all that was consumed above; ErrFull if there would be more spans than the
// journal keeps beside those of members: they would come again after a restart; or
// ErrDying if Bury or Unbury has still to say what becomes of the message. The caller has
// seen to it that no Kafka client joins the group meanwhile.
func (p *Position) Reopen(offset int64) error {
	p.mu.Lock()
	if err := p.mayReopen(offset); err != nil {
		p.mu.Unlock()
		return err
	}
	if !p.open(offset) {
		p.mu.Unlock()
		return nil
	}
	p.metadata, p.epoch = "", NoEpoch
	p.mark()
	p.finish(true)
	return nil
}

// mayReopen is the error of Reopen. The caller holds mu, as for what follows.
func (p *Position) mayReopen(offset int64) error {
	switch {
	case p.fresh || p.gone.Load():
		return ErrNoPosition
	case p.assigned:
		return ErrAssigned
	case p.runs() >= maxBeyond-liveRuns:
		return ErrFull
	case p.holder(&p.failed, offset) && !slices.ContainsFunc(p.retries, func(w waiting) bool { return w.offset == offset }):
		return ErrDying
	}
	return nil
}

// open frees a message that was consumed, and reports false if it was not.
func (p *Position) open(offset int64) bool {
	s := Span{offset, offset + 1}
	if offset >= p.committed {
		return p.replace(s, nil, nil, false)
	}
	if above := (Span{s.To, p.committed}); above.Len() > 0 {
		p.held = slices.Insert(p.held, 0, held{above, nil})
	}
	p.committed = offset
	return true
}

// runs is the number of spans that were consumed above the committed offset.
func (p *Position) runs() (n int) {
	for _, h := range p.held {
		if h.by == nil {
			n++
		}
	}
	return n
}

// Remembers says whether the journal keeps as many more spans as n messages that are
// consumed out of turn can make: if not, some of what is consumed above the committed
// offset may come again after a restart.
func (p *Position) Remembers(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs()+n <= maxBeyond
}
