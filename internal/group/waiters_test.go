package group_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"mbus/internal/store"
)

// A simulatedLog is the end of a log, which calls those who have asked only when the
// simulation says so.
type simulatedLog struct {
	high  int64
	next  int // key of the next wake
	wakes map[int]wake
}

type wake struct {
	offset int64
	f      func(store.Reason)
}

func (l *simulatedLog) Offsets() (start, high int64) { return 0, l.high }

func (l *simulatedLog) Wake(offset int64, f func(store.Reason)) (cancel func()) {
	if l.wakes == nil {
		l.wakes = make(map[int]wake)
	}
	n := l.next
	l.next++
	l.wakes[n] = wake{offset, f}
	return func() { delete(l.wakes, n) }
}

// tell calls those who have asked for what there is.
func (l *simulatedLog) tell() {
	for again := true; again; {
		again = false
		for _, n := range slices.Sorted(maps.Keys(l.wakes)) {
			if w, ok := l.wakes[n]; ok && w.offset < l.high {
				delete(l.wakes, n)
				w.f(store.More)
				again = true
			}
		}
	}
}

// A simulatedClock stands still but for set.
type simulatedClock struct {
	time   time.Time
	next   int
	alarms map[int]alarm
}

type alarm struct {
	at time.Time
	f  func()
}

func (c *simulatedClock) Now() time.Time { return c.time }

func (c *simulatedClock) At(t time.Time, f func()) (cancel func()) {
	if c.alarms == nil {
		c.alarms = make(map[int]alarm)
	}
	n := c.next
	c.next++
	c.alarms[n] = alarm{t, f}
	return func() { delete(c.alarms, n) }
}

func (c *simulatedClock) set(now time.Time) {
	c.time = now
	c.tell()
}

// tell calls those whose time has come.
func (c *simulatedClock) tell() {
	for again := true; again; {
		again = false
		for _, n := range slices.Sorted(maps.Keys(c.alarms)) {
			if a, ok := c.alarms[n]; ok && !a.at.After(c.time) {
				delete(c.alarms, n)
				a.f()
				again = true
			}
		}
	}
}

// tell has logs and the clock call whom they have to, as they do by themselves.
func (s *simulation) tell() {
	for _, name := range topicNames {
		if l := s.logs[name]; l != nil {
			l.tell()
		}
	}
	s.clock.tell()
	for _, p := range s.models {
		p.retry(s.now)
	}
}

// anyWoken says whether a client has been woken that may take something of a position.
func (s *simulation) anyWoken(p *model) bool {
	return slices.ContainsFunc(s.clients, func(c *client) bool { return c.woken && c.watches(p) })
}

func (c *client) watches(p *model) bool {
	return slices.ContainsFunc(c.uses, func(u *use) bool { return u.model == p })
}

// act is what a client does that may have been woken: it rests if it finds nothing. But it
// may have no room, or get something elsewhere and then be busy with that, or leave.
func (s *simulation) act(c *client) error {
	c.waiter.Busy()
	c.resting, c.woken = false, false
	switch s.rng.IntN(8) {
	case 0:
		s.leaves(slices.Index(s.clients, c))
		return nil
	case 1, 2:
		c.waiter.PassOn()
		return nil
	}
	for _, i := range s.rng.Perm(len(c.uses)) {
		if u := c.uses[i]; u.available(s.now) {
			return s.leaseFrom(c, u)
		}
	}
	s.tally.rests.Add(1)
	c.resting = true
	c.waiter.Rest()
	return nil
}

// settle has all woken waiters act, until none is left. A waiter that rests then has nothing to
// wait for.
func (s *simulation) settle() error {
	for {
		i := slices.IndexFunc(s.clients, func(c *client) bool { return c.woken })
		if i < 0 {
			break
		}
		if err := s.act(s.clients[i]); err != nil {
			return err
		}
		s.tell()
	}
	for _, c := range s.clients {
		for _, u := range c.uses {
			if c.resting && u.available(s.now) {
				return fmt.Errorf("a client of %s rests, and there is something in %s", c.group, u.key.Topic)
			}
		}
	}
	return nil
}
