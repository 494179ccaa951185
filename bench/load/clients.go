package load

import (
	"errors"
	"slices"
	"time"

	"mbus/bench/bus"
)

// Clients are connected, and have each sent a message.
type Clients []bus.Sender

// connecting is how many clients connect at once.
const connecting = 32

// Connect makes n clients, each of which sends to its topic.
func Connect(b bus.Bus, n int, topic func(client int) string) (Clients, error) {
	c := make(Clients, n)
	err := AtOnce(n, connecting, func(i int) (err error) {
		if c[i], err = b.Sender(topic(i)); err == nil {
			err = c[i].Send(messages[0])
		}
		return err
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connections.
func (c Clients) Close() {
	for _, s := range c {
		if s != nil {
			s.Close()
		}
	}
}

// Singly has each client send one message at a time for a time, and gives how long
// each message took until it was acknowledged; they ascend.
func (c Clients) Singly(during time.Duration) ([]time.Duration, time.Duration, error) {
	return c.each(func(i int, begun time.Time) (list []time.Duration, err error) {
		for now := begun; err == nil && now.Sub(begun) < during; {
			err = c[i].Send(messages[len(list)%len(messages)])
			done := time.Now()
			list, now = append(list, done.Sub(now)), done
		}
		return list, err
	})
}

// Paced has each client send so many messages a second, one at a time, and gives
// how long after it was due each was acknowledged; they ascend.
func (c Clients) Paced(perSecond int, during time.Duration) ([]time.Duration, time.Duration, error) {
	every := time.Second / time.Duration(perSecond)
	return c.each(func(i int, begun time.Time) (list []time.Duration, err error) {
		first := begun.Add(every * time.Duration(i) / time.Duration(len(c))) // spread evenly
		for due := first; err == nil && due.Sub(begun) < during; due = due.Add(every) {
			time.Sleep(time.Until(due))
			err = c[i].Send(messages[len(list)%len(messages)])
			list = append(list, time.Since(due))
		}
		return list, err
	})
}

// each runs f for each client, and gives the times of all and how long that took.
func (c Clients) each(f func(i int, begun time.Time) ([]time.Duration, error)) (list []time.Duration, took time.Duration, err error) {
	lists := make([][]time.Duration, len(c))
	begun := time.Now()
	err = AtOnce(len(c), len(c), func(i int) (err error) {
		lists[i], err = f(i, begun)
		return err
	})
	took = time.Since(begun)
	list = slices.Concat(lists...)
	slices.Sort(list)
	return list, took, err
}

// AtOnce calls f with the numbers below n, so many at once.
func AtOnce(n, workers int, f func(i int) error) error {
	failed := make(chan error, workers)
	for w := range workers {
		go func() {
			var err error
			for i := w; i < n && err == nil; i += workers {
				err = f(i)
			}
			failed <- err
		}()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}
