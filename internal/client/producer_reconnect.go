package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"mbus/internal/units"
)

// The time between two attempts to connect: it doubles, and a random half is taken off, so
// that a thousand producers don't come at once.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// An outage is the time without a connection that has acknowledged a message. The zero value
// is none.
type outage struct {
	since time.Time
	pause time.Duration // before the next attempt to connect
}

// serve reads a connection to its end and goes on with another one, or is the end.
func (c *Producer) serve(l *link) {
	err := c.read(l)
	atOnce, again := c.after(l, err)
	for _, text := range c.takeRefusals() {
		c.say(text)
	}
	if !again {
		return
	}
	if !atOnce {
		c.say(fmt.Sprintf("%v; connecting again", err))
	}
	c.goOn(atOnce, err)
}

// after decides what follows a connection that has ended with err, nil for an orderly end:
// another one, at once or after a pause, or nothing.
func (c *Producer) after(l *link, err error) (atOnce, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.dead = true
	c.link, c.backlog.next = nil, 0
	if err == nil || c.closing && c.sent.Load() > 0 && len(c.backlog.chunks) == 0 && isLost(err) {
		c.finish(nil)
		return false, false
	}
	if isBad(err) {
		if err = c.refused(err); err == nil {
			return true, true
		}
	}
	if c.uncertain && c.Acked() == 0 && hasCode(err, "GONE") { // no message is stored, and none is lost by that
		c.uncertain = false
		return true, true
	}
	c.uncertain = c.uncertain || l.last > l.acked
	begun := c.acked.Load() > 0 || !errors.Is(err, errSilent) // else there has never been a broker
	if c.request.Retry == 0 || !begun || !isLost(err) {
		c.finish(err)
		return false, false
	}
	return false, true
}

// takeRefusals takes the texts for the user about messages that were left out.
func (c *Producer) takeRefusals() (texts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	texts, c.refusals = c.refusals, nil
	return texts
}

// isLost reports whether another connection may succeed after the error.
func isLost(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return hasCode(err, "SHUTDOWN", "BUSY")
	}
	return !errors.Is(err, errForeign)
}

// hasCode says whether an error is an answer of the broker with one of the codes.
func hasCode(err error, codes ...string) bool {
	var answer *Error
	return errors.As(err, &answer) && slices.Contains(codes, answer.Code)
}

// goOn connects again, at once or after a pause, until that fails for too long. err is why
// the connection before has ended.
func (c *Producer) goOn(atOnce bool, err error) {
	for {
		if !atOnce {
			pause, over := c.wait(err)
			if over {
				return
			}
			time.Sleep(pause/2 + rand.N(pause/2))
		}
		l, dialErr := c.connect()
		if dialErr == nil {
			l.again = !atOnce
			go c.serve(l)
			c.resend(l)
			return
		}
		if atOnce {
			atOnce, err = false, dialErr
		}
	}
}

// wait is the time until the next attempt. over says that the outage has lasted too long
// while messages wait.
func (c *Producer) wait(err error) (pause time.Duration, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.outage
	if o.since.IsZero() {
		o.since, o.pause = time.Now(), firstPause
	} else {
		o.pause = min(2*o.pause, lastPause)
	}
	if len(c.backlog.chunks) == 0 && !c.closing {
		o.since = time.Now()
	}
	if time.Since(o.since) > c.request.Retry {
		c.finish(fmt.Errorf("%w; tried again for %s", err, units.FormatDuration(c.request.Retry)))
		return 0, true
	}
	return o.pause, false
}

// resend writes the backlog to a new connection, and then lets Flush write to it.
func (c *Producer) resend(l *link) {
	c.mu.Lock()
	idle := len(c.backlog.chunks) == 0
	for q := &c.backlog; q.next < len(q.chunks) && !l.dead; {
		k := q.chunks[q.next]
		q.next++
		l.expect(k.last)
		p := slices.Clone(k.data) // it may be acknowledged, and used again, meanwhile
		c.mu.Unlock()
		l.write(p)
		c.mu.Lock()
	}
	connected := idle && l.again && !l.dead
	l.again = l.again && !connected
	if !l.dead {
		c.link = l
		if c.closing {
			l.close()
		}
	}
	c.mu.Unlock()
	if connected {
		c.say("connected again")
	}
}
