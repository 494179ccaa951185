package producer

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

// serve reads a connection to its end and goes on with another one, or is the end.
func (c *Conn) serve(l *link) {
	err := c.read(l)
	atOnce, again := c.after(l, err)
	for _, text := range c.takeBad() {
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

// after says what follows on a connection that has ended with err, nil for in good order:
// another one, at once or after a pause, or nothing.
func (c *Conn) after(l *link, err error) (atOnce, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.dead = true
	c.link, c.next = nil, 0
	if err == nil || c.closing && c.sent.Load() > 0 && len(c.queue) == 0 && isLost(err) {
		c.finish(nil)
		return false, false
	}
	if isBad(err) {
		if err = c.refused(err); err == nil {
			return true, true
		}
	}
	if c.doubt && c.Acked() == 0 && hasCode(err, "GONE") { // nothing is stored, and nothing is lost by that
		c.doubt = false
		return true, true
	}
	c.doubt = c.doubt || l.last > l.told
	begun := c.acked.Load() > 0 || !errors.Is(err, errSilent) // else there has never been a broker
	if c.request.Retry == 0 || !begun || !isLost(err) {
		c.finish(err)
		return false, false
	}
	return false, true
}

// takeBad is what is to be said of messages that were left out.
func (c *Conn) takeBad() (texts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	texts, c.bad = c.bad, nil
	return texts
}

// isLost says whether a connection has ended so that another one may do better.
func isLost(err error) bool {
	var answer *answerError
	if errors.As(err, &answer) {
		return hasCode(err, "SHUTDOWN", "BUSY")
	}
	return !errors.Is(err, errForeign)
}

// hasCode says whether an error is an answer of the broker with one of the codes.
func hasCode(err error, codes ...string) bool {
	var answer *answerError
	return errors.As(err, &answer) && slices.Contains(codes, answer.code)
}

// goOn connects again, at once or after a pause, until that fails for too long. err is why
// the connection before has ended.
func (c *Conn) goOn(atOnce bool, err error) {
	for {
		if !atOnce {
			pause, over := c.wait(err)
			if over {
				return
			}
			time.Sleep(pause/2 + rand.N(pause/2))
		}
		l, dialErr := c.dial()
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

// wait is how long to wait before the next attempt. It is the end if it was tried for too
// long, while something is to be sent or acknowledged.
func (c *Conn) wait(err error) (pause time.Duration, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost.IsZero() {
		c.lost, c.pause = time.Now(), firstPause
	} else {
		c.pause = min(2*c.pause, lastPause)
	}
	if len(c.queue) == 0 && !c.closing {
		c.lost = time.Now()
	}
	if time.Since(c.lost) > c.request.Retry {
		c.finish(fmt.Errorf("%w; tried again for %s", err, units.FormatDuration(c.request.Retry)))
		return 0, true
	}
	return c.pause, false
}

// resend writes what is unacknowledged to a new connection, and then lets Flush write to it.
func (c *Conn) resend(l *link) {
	c.mu.Lock()
	idle := len(c.queue) == 0
	for c.next < len(c.queue) && !l.dead {
		k := c.queue[c.next]
		c.next++
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
