// Package load puts load on a broker and measures how it bears it: in bulk, at a
// fixed rate, one message at a time, to many groups. The load and the consumers
// are this process.
package load

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"mbus/bench/bus"
	"mbus/bench/measure"
)

// messages are sent over and over.
var messages = measure.Messages(1024)

// checkEvery is after how many messages the clock is looked at.
const checkEvery = 64

// sendFor adds messages until the time is over or there were most, and returns
// how many.
func sendFor(p bus.Publisher, during time.Duration, most int) (int, error) {
	end := time.Now().Add(during)
	for n := 0; ; n++ {
		if n == most || n%checkEvery == 0 && time.Now().After(end) {
			return n, p.Flush()
		}
		if err := p.Add(messages[n%len(messages)]); err != nil {
			return n, err
		}
	}
}

// Publish sends for a time, or most messages if that is sooner and not negative, and waits until all is acknowledged.
func Publish(b bus.Bus, topic string, during time.Duration, most int) (n int, took time.Duration, err error) {
	p, err := b.Publisher(topic, false)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	n, err = sendFor(p, during, most)
	err = errors.Join(err, p.Close())
	return n, time.Since(begun), err
}

// Drain has a group read the n messages of a topic, from its asking for them to
// the last.
func Drain(b bus.Bus, topic, group string, n int) (time.Duration, error) {
	begun := time.Now()
	t := consume(b, bus.Reading{Topic: topic, Group: group, Drain: true}, nil)
	err := t.wait(n, soon())
	took := time.Since(begun)
	return took, errors.Join(err, stop(t))
}

// warm sends the first message of a topic and waits until all tallies have it,
// so that the joining of groups is not measured.
func warm(p bus.Publisher, tallies ...*tally) error {
	if err := p.Add(measure.Stamped(time.Now())); err != nil {
		return err
	}
	if err := p.Flush(); err != nil {
		return err
	}
	deadline := soon()
	for _, t := range tallies {
		if err := t.begin(deadline); err != nil {
			return fmt.Errorf("the first message: %w", err)
		}
	}
	return nil
}

// Stream publishes for a time while a group reads, to the last message read.
func Stream(b bus.Bus, topic, group string, during time.Duration) (n int, took time.Duration, err error) {
	p, err := b.Publisher(topic, false)
	if err != nil {
		return 0, 0, err
	}
	t := consume(b, bus.Reading{Topic: topic, Group: group}, nil)
	if err := warm(p, t); err != nil {
		return 0, 0, errors.Join(err, stop(t), p.Close())
	}
	begun := time.Now()
	n, err = sendFor(p, during, -1)
	err = errors.Join(err, p.Close())
	if err == nil {
		err = t.wait(n+1, soon())
	}
	took = time.Since(begun)
	return n, took, errors.Join(err, stop(t))
}

// Latencies sends at a fixed rate, and gives for each message how long after it
// was due a consumer had it; they ascend.
func Latencies(b bus.Bus, topic, group string, rate int, during time.Duration) ([]time.Duration, error) {
	p, err := b.Publisher(topic, true)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var list []time.Duration
	var bad error
	t := consume(b, bus.Reading{Topic: topic, Group: group, Urgent: true}, func(n int64, message []byte) {
		due, err := measure.Due(message)
		mu.Lock()
		defer mu.Unlock()
		if n > 1 { // after the one that warms
			list = append(list, time.Since(due))
		}
		bad = errors.Join(bad, err)
	})
	n := 0
	if err = warm(p, t); err == nil {
		loop := measure.OpenLoop{Rate: rate, For: during, Flush: p.Flush, Send: func(due time.Time) error {
			return p.Add(measure.Stamped(due))
		}}
		n, err = loop.Run()
	}
	err = errors.Join(err, p.Close())
	if err == nil {
		err = t.wait(n+1, soon())
	}
	err = errors.Join(err, stop(t))
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(list)
	return list, errors.Join(err, bad)
}

// underWay is how many deliveries of a fan-out may be missing before the
// publisher waits for them.
const underWay = 200_000

// FanOut publishes for a time to a topic that all groups follow, never far
// ahead of the slowest, and counts deliveries.
func FanOut(b bus.Bus, topic string, groups []string, during time.Duration) (n int, took time.Duration, err error) {
	p, err := b.Publisher(topic, false)
	if err != nil {
		return 0, 0, err
	}
	window := int64(underWay / len(groups))
	progress := make(chan struct{}, 1)
	var tallies []*tally
	for _, g := range groups {
		tallies = append(tallies, consume(b, bus.Reading{Topic: topic, Group: g}, func(n int64, _ []byte) {
			if n%(window/4) == 0 {
				select {
				case progress <- struct{}{}:
				default:
				}
			}
		}))
	}
	sent := 0
	if err = warm(p, tallies...); err == nil {
		begun := time.Now()
		sent, err = sendWithin(p, during, window, progress, tallies)
		err = errors.Join(err, p.Close())
		deadline := soon()
		for _, t := range tallies {
			if err == nil {
				err = t.wait(sent+1, deadline)
			}
		}
		took = time.Since(begun)
	}
	err = errors.Join(err, stop(tallies...))
	return sent * len(groups), took, err
}

// sendWithin is sendFor with at most window messages that the slowest has not.
func sendWithin(p bus.Publisher, during time.Duration, window int64, progress <-chan struct{}, tallies []*tally) (int, error) {
	end := time.Now().Add(during)
	for n := 0; ; n++ {
		if n%checkEvery == 0 {
			if time.Now().After(end) {
				return n, p.Flush()
			}
			if err := await(p, int64(n)-window, progress, tallies); err != nil {
				return n, err
			}
		}
		if err := p.Add(messages[n%len(messages)]); err != nil {
			return n, err
		}
	}
}

// await waits until all have so many messages.
func await(p bus.Publisher, least int64, progress <-chan struct{}, tallies []*tally) error {
	for flushed := false; slowest(tallies) < least; flushed = true {
		if !flushed {
			if err := p.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-progress:
		case <-time.After(patience):
			return errors.New("a group got nothing for " + patience.String())
		}
	}
	return nil
}

func slowest(tallies []*tally) int64 {
	least := tallies[0].n.Load()
	for _, t := range tallies[1:] {
		least = min(least, t.n.Load())
	}
	return least
}

// GroupNames makes n names of groups of a topic: others may still have members.
func GroupNames(topic string, n int) []string {
	var list []string
	for i := range n {
		list = append(list, topic+"-group-"+strconv.Itoa(i))
	}
	return list
}
