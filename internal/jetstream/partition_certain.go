package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// certainTime is how long it may remain unknown whether a message is stored, until the ownership is
// given up.
const certainTime = 30 * time.Second

// Between two attempts, when the engine has answered that it can't now.
const (
	leastPause = 2 * time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// A publish is the way of one message until it is certain that it is stored, at a place behind the last
// message where only one can stand.
//
// Every answer but success is a hint only: around a change of leaders an attempt was refused while that
// very message was stored. So what follows the last message is asked of the stream's leader then: the
// message itself, or a fence. Behind an older owner's fence, which came late, the message is sent again;
// the fence of a later owner ends the ownership.
type publish struct {
	log      *partition
	way      publishing
	data     []byte
	after    uint64 // sequence of the last message
	refused  int    // answers that said that this is not the last message, although nothing stood behind it
	patience time.Duration
	pause    time.Duration
	deadline time.Time
}

// publish publishes m and returns its sequence.
func (a *appender) publish(m *outgoing) (uint64, error) {
	p := publish{
		log: a.log, way: a.log.wire.publishing(a.log.at), data: m.data, after: a.tail.seq,
		patience: a.log.patience(), pause: leastPause, deadline: time.Now().Add(certainTime),
	}
	defer p.way.end()
	for {
		if err := p.given(); err != nil {
			return 0, err
		}
		sent := time.Now()
		seq, err := p.attempt()
		if err == nil {
			p.log.answered(time.Since(sent))
			return seq, nil
		}
		if seq, err := p.look(); seq > 0 || err != nil {
			return seq, err
		}
		switch {
		case errors.Is(err, errSilent):
			p.patience = min(2*p.patience, mostPatience)
		case !errors.Is(err, errBusy):
			p.refused++
		}
	}
}

// given fails if the ownership has ended, or if it has not been certain for too long whether the message
// is stored.
func (p *publish) given() error {
	if err := p.log.ctx.Err(); err != nil {
		return err
	}
	if time.Now().After(p.deadline) {
		return fmt.Errorf("topic %q, partition %d: it is not known after %v whether a message is stored", p.log.topic, p.log.number, certainTime)
	}
	return nil
}

// attempt sends the message and waits for an answer.
func (p *publish) attempt() (uint64, error) {
	c := condition{lastOfThis, p.after}
	if p.log.alone.Load() && p.refused < 2 {
		c.kind = lastOfAll
	}
	if err := p.way.send(c, p.data); err != nil {
		return 0, err
	}
	return p.wait(p.patience)
}

// wait waits for the answer of any attempt.
func (p *publish) wait(most time.Duration) (uint64, error) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case a := <-p.way.answers():
		return a.seq, a.err
	case <-timer.C:
		return 0, errSilent
	case <-p.log.ctx.Done():
		return 0, p.log.ctx.Err()
	}
}

// look asks the leader for what stands behind the last message. It returns the sequence of the message
// if it is stored, or 0 if it is to be sent again.
func (p *publish) look() (uint64, error) {
	for {
		if err := p.given(); err != nil {
			return 0, err
		}
		got, err := p.log.wire.next(p.log.ctx, p.log.at, p.after+1, patience)
		switch {
		case err == nil:
			if seq, err := p.judge(got); seq > 0 || err != nil {
				return seq, err
			}
			continue
		case errors.Is(err, errNone):
			return p.rest()
		}
		if seq, err := p.rest(); seq > 0 || err != nil {
			return seq, err
		}
	}
}

// rest waits a little, more each time. An answer that comes late may say that the message is stored.
func (p *publish) rest() (uint64, error) {
	seq, err := p.wait(p.pause)
	p.pause = min(2*p.pause, mostPause)
	if err != nil {
		return 0, p.log.ctx.Err()
	}
	return seq, nil
}

// judge says what it means that a message stands behind the last one.
func (p *publish) judge(got stored) (uint64, error) {
	f, _, err := parsePrefix(got.data)
	switch {
	case bytes.Equal(got.data, p.data):
		return got.seq, nil
	case err != nil:
		return 0, fmt.Errorf("topic %q, partition %d: what stands behind the last message can't be read: %w", p.log.topic, p.log.number, err)
	case f.kind == fence && f.epoch <= p.log.term:
		p.after = got.seq
		return 0, nil
	}
	return 0, fmt.Errorf("topic %q, partition %d: sequence %d is of an owner of epoch %d", p.log.topic, p.log.number, got.seq, f.epoch)
}
