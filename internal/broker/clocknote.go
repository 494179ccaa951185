package broker

import (
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// The broker keeps a note of its clock (store.KeepNote), so that a start by a wrong clock
// removes nothing: when it was last known to run, and which jumps of the wall clock are to
// be believed yet. It is written at the start, at the end, each hour, and with a jump. Of
// a note that is too old a longer time counts as a jump, which only keeps messages longer.

// A clockNote is what is kept. FORMAT.md shows it.
type clockNote struct {
	Time  int64      `json:"time"` // of the wall clock, in milliseconds since 1970
	Jumps []jumpNote `json:"jumps,omitempty"`
}

// A jumpNote is a clockJump.
type jumpNote struct {
	By      int64 `json:"by"`  // milliseconds
	Ago     int64 `json:"ago"` // milliseconds for which the broker has run since
	Returns bool  `json:"returns,omitempty"`
}

// note is what is to be kept of the clock, as of the last look.
func (c *clock) note() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := clockNote{Time: c.wallAt.UnixMilli()}
	for _, j := range c.jumps {
		up := (j.by + time.Millisecond - 1).Milliseconds() // or something is believed too early
		n.Jumps = append(n.Jumps, jumpNote{up, c.steady.Sub(j.seen).Milliseconds(), j.returns})
	}
	p, _ := json.Marshal(n) // of numbers it can't fail
	return p
}

// restore has the clock go on from a note. What the wall clock says is believed at once
// where messages are delivered and stamped. For removing the time since the note is a jump
// ahead, which must last as all do. It reports false for what is no note.
func (c *clock) restore(p []byte) bool {
	var n clockNote
	if json.Unmarshal(p, &n) != nil || n.Time < software.UnixMilli() || len(n.Jumps) > maxJumps {
		return false
	}
	for _, j := range n.Jumps {
		if j.By <= 0 || j.Ago < 0 {
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, steady := c.read()
	c.wallAt, c.steady, c.jumps = time.UnixMilli(n.Time), steady, nil
	for _, j := range n.Jumps {
		c.jumps = append(c.jumps, clockJump{steady.Add(-span(j.Ago)), span(j.By), j.Returns})
	}
	if wall.Before(software) {
		return true // it goes on from the note
	}
	switch down := wall.Sub(c.wallAt); {
	case down > clockStep:
		c.jumps = append(c.jumps, clockJump{steady, down, true})
		for len(c.jumps) > maxJumps {
			c.join()
		}
	case down < -clockStep:
		c.jump(down)
	}
	c.wallAt = wall
	return true
}

// A clockKeeper is the broker's clock and the note of it.
type clockKeeper struct {
	clock   *clock
	store   store.Store
	log     *slog.Logger
	onJump  func()      // called after a jump, which is in the note then
	unnoted atomic.Bool // the clock has jumped since the last note

	mu      sync.Mutex // guards what follows
	at      time.Time  // of the last note
	atOnce  int        // notes of jumps that may be written at once
	failing bool       // the last note could not be written, which has been logged
}

// newClockKeeper starts the clock from the note of the last run, and gives it to the store.
// system reads the system's clock; nil for time.Now.
func newClockKeeper(s store.Store, system func() time.Time, log *slog.Logger) *clockKeeper {
	k := &clockKeeper{clock: newClock(system), store: s, log: log, onJump: func() {}}
	unset := k.clock.unset.Load()
	p := s.Note()
	if len(p) > 0 && !k.clock.restore(p) {
		log.Warn("the file that says when the broker last ran can't be used: the system's clock is believed", "file", "clock")
	}
	if unset {
		log.Warn("the system's clock is not set: time goes on from when the broker last ran, or from the beginning of 2026 if that is not known", "now", k.clock.wall())
	}
	k.clock.jumped = k.jumped
	s.UseClock(k.clock.wall)
	return k
}

// keepDue writes the note if one is due. It returns the time until the next one is.
func (k *clockKeeper) keepDue() time.Duration {
	k.clock.wall() // which may find a jump, and note it
	k.mu.Lock()
	defer k.mu.Unlock()
	since, moved := time.Since(k.at), k.unnoted.Load()
	switch {
	case moved && since < noteSoonest:
		return noteSoonest - since
	case !moved && since < noteEvery:
		return noteEvery - since
	}
	k.renew()
	return noteEvery
}

// keep writes the note now.
func (k *clockKeeper) keep() {
	k.clock.wall()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renew()
}

// renew writes the note, and lets jumps be noted at once again. The caller holds mu.
func (k *clockKeeper) renew() {
	k.atOnce = noteAtOnce
	k.write()
}

// write writes the note. The caller holds mu.
func (k *clockKeeper) write() {
	k.at = time.Now()
	k.unnoted.Store(false)
	err := k.store.KeepNote(k.clock.note())
	if errors.Is(err, store.ErrClosed) {
		return
	}
	if err != nil && !k.failing {
		k.log.Warn("the time could not be kept, which tells a wrong clock at the next start", "reason", err)
	}
	k.failing = err != nil
}

// keepJump notes a jump before anything is stamped by the clock as it is now, unless there
// have been many of late.
func (k *clockKeeper) keepJump() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unnoted.Store(true)
	if k.atOnce > 0 {
		k.atOnce--
		k.write()
	}
}

// jumped notes and logs a jump of the system's clock.
func (k *clockKeeper) jumped(by time.Duration) {
	k.keepJump()
	k.onJump()
	if by > 0 {
		k.log.Warn("the system's clock has jumped ahead: messages are delivered by it when that has lasted, and removed by it when that has lasted as long as they are kept",
			"by", by, "delivered", believeAfter)
		return
	}
	k.log.Warn("the system's clock was put back", "by", -by)
}

// Now is the broker's time, by which messages are delivered and stamped: that of the
// system's wall clock, but for jumps ahead that have not lasted for a minute.
func (b *Broker) Now() time.Time { return b.clock.now() }
