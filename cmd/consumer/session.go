package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"mbus/internal/batch"
	"mbus/internal/client"
)

const (
	// firstPause is how long a lost connection is left alone before the next is
	// tried; each failure doubles it, up to lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// A sink is what becomes of messages. n counts those of the connection.
type sink interface {
	// take deals with message n.
	take(c *client.Consumer, n int64, m *received) error
	// idle is called before each wait for the broker, n messages having been taken.
	idle(c *client.Consumer, n int64) error
	// settle makes the n messages taken safe, and acknowledges them.
	settle(c *client.Consumer, n int64) error
}

// errEnough says that as many messages as were asked for have been taken.
var errEnough = errors.New("enough messages")

// A session consumes a topic, with one connection after the other.
type session struct {
	opts  options
	sink  sink
	next  map[int]int64 // where each partition goes on, if that is for us to know; nil if not
	read  map[int]int64 // where each partition goes on that messages have come from
	topic *identity     // that next is of
	total int64         // messages taken on all connections

	waits    bool // it was said that the topic does not exist yet
	admitted bool // there has been a connection that was not refused
	lost     bool // it was said that the last one is
	conn     *client.Consumer
	taken    int64 // messages of conn
}

func newSession(opts options) *session {
	topic := &identity{name: opts.request.Topic, remedy: "start the consumer again to read a new topic of this name"}
	return &session{opts: opts, read: make(map[int]int64), topic: topic}
}

// run consumes as the options say.
func (s *session) run(stop context.Context) error {
	if s.opts.request.Follow {
		return s.follow(stop)
	}
	return s.drain(stop)
}

// errMissing says that the topic was read to its end, but for messages that the
// broker does not have any more or can't read. Each such place has been said.
var errMissing = errors.New("some messages are missing: each place is named above")

// drain consumes what there is, past messages that are missing: each such place ends
// a connection, and the next one goes on behind it.
func (s *session) drain(stop context.Context) error {
	if s.next != nil {
		if err := s.look(); err != nil {
			return err
		}
	}
	var end error
	for said := ""; ; {
		before := s.total
		err := s.connection(stop)
		if !s.skipped(err) || err.Error() == said && s.total == before { // nothing has moved
			if err == nil && s.total == 0 && stop.Err() == nil {
				s.sayNothing()
			}
			return errors.Join(end, err)
		}
		said = err.Error()
		say("%v; going on behind that", err)
		if end = errMissing; s.opts.request.N > 0 && s.total >= s.opts.request.N {
			return end
		}
	}
}

// skipped says whether a stream ended because messages are missing, and the next one
// begins behind them.
func (s *session) skipped(err error) bool {
	var broker *client.Error
	if !errors.As(err, &broker) || !broker.Skips() {
		return false
	}
	_, _, named := broker.Missing()
	return named || s.opts.request.From == ""
}

// follow consumes until stop ends, there were as many messages as asked for, or
// going on would be wrong. It connects again when the connection is lost, and goes on
// behind messages that are missing.
func (s *session) follow(stop context.Context) (end error) {
	said := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		before, begun := s.total, time.Now()
		err := s.look()
		if err == nil {
			err = s.connection(stop)
		}
		skipped := s.skipped(err)
		switch {
		case err == nil && stop.Err() != nil:
			return nil
		case !skipped && !s.again(err):
			return errors.Join(end, err)
		case skipped:
			end = errMissing
		}
		if s.total > before || time.Since(begun) > lastPause {
			pause, said = firstPause, ""
		}
		if text := whatNext(err, skipped); text != said { // a broker that stays away is said once
			said, s.lost = text, !skipped
			say("%s", text)
		}
		select {
		case <-stop.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// whatNext says why there will be another connection.
func whatNext(err error, skipped bool) string {
	if skipped {
		return err.Error() + "; going on behind that"
	}
	return err.Error() + "; connecting again"
}

// again reports whether a new connection may fare better.
func (s *session) again(err error) bool {
	if !s.admitted || err == nil {
		return false
	}
	var broker *client.Error
	if !errors.As(err, &broker) {
		return errors.Is(err, client.ErrLost) || errors.Is(err, client.ErrUnreachable)
	}
	switch broker.Code {
	case "SHUTDOWN", "TIMEOUT", "BUSY": // the first time a person reads it: it may not be for a while only
		return true
	}
	return false
}

// connection consumes with one connection, to the end of the stream or of stop.
func (s *session) connection(stop context.Context) (err error) {
	if s.conn, err = client.DialConsumer(s.opts.broker, s.request()); err != nil {
		return err
	}
	s.taken = 0
	defer s.conn.Close()
	defer context.AfterFunc(stop, s.conn.Interrupt)()
	if w, ok := s.sink.(waker); ok {
		defer w.wakes(s.conn)()
	}
	err = s.end(s.receive())
	s.admitted = s.admitted || !refused(err)
	return s.topic.explain(err)
}

// A waker is a sink that has Idle called at times when nothing comes.
type waker interface {
	// wakes begins to wake the connection, until the function that it returns is called.
	wakes(c *client.Consumer) (stop func())
}

// refused reports whether the broker has sent an error before it served a connection.
func refused(err error) bool {
	var broker *client.Error
	return errors.As(err, &broker) && broker.Code == "BUSY"
}

// request is what is asked for next.
func (s *session) request() client.ConsumeRequest {
	r := s.opts.request
	if r.N > 0 {
		r.N -= s.total
	}
	if s.next != nil {
		r.From = client.Offsets(s.next)
		r.ID = s.topic.id
	}
	r.Timeout = s.opts.timeout
	r.Idle = func() error { return s.sink.idle(s.conn, s.taken) }
	return r
}

// receive takes messages until the stream ends, with an error that says how.
func (s *session) receive() error {
	var it batch.Iterator
	m := received{topic: s.opts.request.Topic}
	for {
		b, err := s.conn.Next()
		if err != nil {
			return err
		}
		if s.next != nil && s.topic.id == "" { // it did not exist before
			if err := s.look(); err != nil {
				return err
			}
		}
		m.partition = s.conn.Partition()
		if err := s.takeBatch(&it, b, &m); err != nil {
			return err
		}
	}
}

func (s *session) takeBatch(it *batch.Iterator, b batch.Batch, m *received) error {
	err := it.Reset(b)
	for err == nil && it.Next() {
		if m.Record = it.Record(); s.opts.request.Ack {
			m.takeAttempt()
		}
		if err := s.sink.take(s.conn, s.taken+1, m); err != nil {
			return err
		}
		s.taken++
		s.total++
		if s.next != nil {
			s.next[m.partition] = m.Offset + 1
		}
		if s.opts.request.Follow && s.total == s.opts.request.N {
			return errEnough
		}
	}
	if err == nil {
		err = it.Err()
	}
	if err == nil {
		s.read[m.partition] = b.NextOffset()
	} else {
		return fmt.Errorf("partition %d, offset %d: %w", m.partition, b.BaseOffset(), err)
	}
	return nil
}

// skip moves a position that is for us to know past what the broker said is
// missing, as the broker does with that of a group. Where the position has been the
// broker's to find, as in -from 2h, it is found once more for the partitions that
// nothing has come from yet.
func (s *session) skip(e *client.Error) error {
	partition, next, named := e.Missing()
	if !named || s.next == nil && s.opts.request.From == "" {
		return nil
	}
	if s.next == nil {
		if err := s.resolve(); err != nil {
			return err
		}
		maps.Copy(s.next, s.read)
	}
	s.next[partition] = max(next, s.next[partition])
	return nil
}

// end settles what was taken, and ends a connection whose stream ended with err.
// It returns nil if that was as it should be.
func (s *session) end(err error) error {
	ended := errors.Is(err, io.EOF)
	var broker *client.Error
	skips := errors.As(err, &broker) && broker.Skips()
	var back givenBack
	switch {
	case ended, errors.Is(err, errEnough), errors.Is(err, client.ErrInterrupted):
		err = nil
	case errors.As(err, &back): // an end in good order, so that nothing has failed
	case !skips:
		return err
	default:
		if skipErr := s.skip(broker); skipErr != nil {
			return errors.Join(err, skipErr)
		}
	}
	if settleErr := s.sink.settle(s.conn, s.taken); settleErr != nil {
		return settleErr
	}
	if s.opts.request.Ack || ended || skips {
		if commitErr := s.conn.Commit(); err == nil {
			err = commitErr
		}
	}
	return err
}
