package broker

import (
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// The broker keeps a note of its clock (store.KeepNote), so that a start with a wrong clock
// removes nothing: the time at which it last ran, and the jumps that are not believed yet. It
// is written at the start, at the end, each hour, and after a jump. The time since the note
// counts as a jump at the next start: an old note only keeps messages longer.

// A clockNote is the note. FORMAT.md shows it.
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

// note is the note of the clock, as of the last reading.
func (c *clock) note() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := clockNote{Time: c.wallAt.UnixMilli()}
	for _, j := range c.jumps {
		up := (j.by + time.Millisecond - 1).Milliseconds() // rounded up: less would be believed too early
		n.Jumps = append(n.Jumps, jumpNote{up, c.steady.Sub(j.seen).Milliseconds(), j.returns})
	}
	p, _ := json.Marshal(n) // a struct of numbers has no error
	return p
}

// restore has the clock go on from a note. Delivering and stamping believe the wall clock at
// once. For removing messages the time since the note is a forward jump, which has to last as
// all do. restore reports false if p is no note.
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
		return true // time goes on from the note
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
	onJump  func()      // called after a jump has been noted
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
	k.clock.found, k.clock.jumped = k.keepJump, k.jumped
	s.UseClock(k.clock.wall)
	return k
}

// keepDue writes the note if one is due. It returns the time until the next one is.
func (k *clockKeeper) keepDue() time.Duration {
	k.clock.wall() // this may find a jump, and note it
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
	if store.Ended(err) {
		return
	}
	if err != nil && !k.failing {
		k.log.Warn("the time could not be kept: a wrong clock may not be noticed at the next start", "file", "clock", "reason", err)
	}
	k.failing = err != nil
}

// keepJump writes a note after a jump, before anything is stamped by the new time, unless
// there have been many jumps lately.
func (k *clockKeeper) keepJump() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unnoted.Store(true)
	if k.atOnce > 0 {
		k.atOnce--
		k.write()
	}
}

// jumped logs a jump of the system's clock.
func (k *clockKeeper) jumped(by time.Duration) {
	k.onJump()
	if by > 0 {
		k.log.Warn("the system's clock has jumped ahead: the delivery of messages ignores that until it has lasted a minute, and their removal until it has lasted as long as they are kept",
			"by", by)
		return
	}
	k.log.Warn("the system's clock was put back", "by", -by)
}

// Now is the time for delivering and stamping messages: that of the system's clock without
// forward jumps that have not lasted for a minute.
func (b *Broker) Now() time.Time { return b.keeper.clock.now() }
