package commitlog

import (
	"io"
	"slices"
	"time"

	"mbus/internal/store"
)

// A piece is a part of a segment that a round of the journal makes durable.
type piece struct {
	segment   *segment
	from, end position
	began     time.Time // with an interval: when it was taken; later writes are younger
}

func (p *piece) size() int64 { return p.end.pos - p.from.pos }

// read appends the piece to buf.
func (p *piece) read(buf []byte) ([]byte, error) {
	at := len(buf)
	buf = slices.Grow(buf, int(p.size()))[:at+int(p.size())]
	n, err := p.segment.file.readAt(buf[at:], p.from.pos)
	if err == nil && n < len(buf)-at {
		err = io.ErrUnexpectedEOF
	}
	return buf, err
}

// takeForRound takes what is not durable for a round, and the appends that wait for it; or, if none of
// them does, what is visible: an append that is refused then is in no frame. It returns false if the
// segment has to be synced.
func (c *committer) takeForRound(p *part) bool {
	v := &c.log.visible
	v.mu.Lock()
	defer v.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.written
	if p.done != nil {
		end = v.high
	}
	if !c.isSmall() || c.failure.sync != nil || end.pos <= c.durable.pos || c.ended != nil && p.done != nil {
		return false
	}
	p.piece = piece{segment: c.active, from: c.durable, end: end}
	if c.log.syncEvery > 0 {
		p.began = time.Now()
	}
	c.unsynced = 0
	if p.done == nil {
		p.waiting = c.takeWaiting()
	}
	return true
}

// syncUpTo syncs a segment up to a position, unless that is synced, so that the journal need not hold
// its bytes. It fails if an earlier sync has failed: until the log is healed the journal holds what
// the file may lack.
func (c *committer) syncUpTo(p syncPoint) error {
	c.beginSync()
	defer c.endSync()
	c.mu.Lock()
	done := c.active != p.segment || c.synced >= p.end.pos || c.ended == store.ErrDeleted
	err := c.failure.sync
	if err == nil {
		err = c.ended
	}
	c.mu.Unlock()
	if done {
		return nil
	}
	if err != nil {
		return err
	}
	return c.syncNow()
}

// isCut notes that the active segment's file was cut off.
func (c *committer) isCut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts++
}
