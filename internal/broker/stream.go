package broker

import (
	"fmt"
	"time"

	"mbus/internal/batch"
)

// A StreamRequest is the request of a connection with numbered messages.
type StreamRequest struct {
	ID    int64 // positive, chosen by the client at random
	First int64 // the number of its first message, from 1: those below are stored
	New   bool  // nothing was ever sent of the stream, so that nothing has to be read

	// Turn is the connection's number, in the order of their arrival: the latest connection
	// gets the stream, whichever is served first.
	Turn uint64

	// Quit ends the reading of the log that the first stream of a topic begins with, when it is closed; nil for
	// never.
	Quit <-chan struct{}

	// Replaced is called when another connection goes on with the stream. It does not
	// block.
	Replaced func()
}

// A Stream is one connection's right to write messages of a stream. Its methods are for
// one goroutine.
type Stream struct {
	b          *Broker
	id         int64
	of         *stream
	replaced   func()
	before     storedSet // what was stored when it began
	end        int64     // number, from 0, from which nothing was stored then
	partitions int       // that the topic had at the latest write; 0 for none
	latest     int64     // number, from 0, that was written, or is about to be: those that follow are near to it

	failed error          // why no append may follow; guarded by of.mu
	broken map[chain]bool // where something was not stored, so that what follows on it does not say what is; guarded by of.mu
}

// OpenStream begins a stream of a topic, or goes on with it. It ends the connection that has
// the stream, and waits for that one's appends: then it is known which numbers are stored. It
// fails with ErrReplaced if yet another connection has taken the stream meanwhile, with
// ErrStreamGone if the client says that messages are stored that this topic never had, or with
// an error of the store. Close gives the stream back.
func (v *View) OpenStream(t *Topic, r StreamRequest) (*Stream, error) {
	if err := v.topic(Write, t.Name); err != nil {
		return nil, err
	}
	b := v.broker
	me := &Stream{b: b, id: r.ID, replaced: r.Replaced, latest: r.First - 1}
	old, whole, err := t.streams.take(b, t, me, r)
	if err != nil {
		return nil, err
	}
	if old != nil {
		old.replaced()
	}
	st := me.of
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.pending > 0 && st.owner == me {
		st.idle.Wait()
	}
	if st.owner != me {
		return nil, ErrReplaced
	}
	if !st.known {
		st.stored.shift(nearest(st.latest, r.First-1))
		st.known, st.latest = true, r.First-1
	}
	me.before = st.stored.clone()
	end, ok := me.before.end()
	if !ok && whole && r.First > 1 && !r.New {
		st.owner = nil
		return nil, fmt.Errorf("%w: topic %q has no message of producer=%d, of which the first %d are said to be stored", ErrStreamGone, t.Name, r.ID, r.First-1)
	}
	me.end = end
	return me, nil
}

// take makes me the owner of its stream. old is the owner before, nil for none; whole reports
// that everything is known that the topic ever had.
func (s *streams) take(b *Broker, t *Topic, me *Stream, r StreamRequest) (old *Stream, whole bool, err error) {
	if !r.New {
		if err := s.load(b, t, r.Quit); err != nil {
			return nil, false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.of(me.id)
	st.mu.Lock()
	defer st.mu.Unlock()
	if r.Turn < st.turn {
		return nil, false, ErrReplaced
	}
	old, st.owner, st.turn, me.of = st.owner, me, r.Turn, st
	st.used = time.Now()
	st.idle.Broadcast()
	return old, s.loaded && s.whole && !s.forgot, nil
}

// Close gives the stream back. Appends under way go on.
func (s *Stream) Close() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.of.used = time.Now()
	if s.of.owner == s {
		s.of.owner = nil
	}
}

// Stored reports whether the message with this number, from 1, was stored before. place is its
// partition in a topic of so many; nil if it may go to any, or waits.
func (s *Stream) Stored(number int64, place func(partitions int) int) bool {
	return number <= s.end && s.before.has(number-1, place)
}

// KnowsMore reports whether a message with this number, from 1, or a higher one may be
// stored.
func (s *Stream) KnowsMore(number int64) bool { return number <= s.end }

// block is how many messages without a key follow each other into one partition where the
// partition follows from their number.
const block = 64

// Place is the partition, of n, of a message without a key in a stream of which others
// have keys.
func (s *Stream) Place(number int64, n int) int {
	const mix = 0x9e3779b97f4a7c15 // so that streams begin at different partitions
	return int((uint64(s.id)*mix>>33 + uint64(number-1)/block) % uint64(n))
}

// Producer is that of a batch of so many records, the last of which has this number, from
// 1. partitions is 0 if they are numbered without a gap, else the topic's.
func (s *Stream) Producer(last int64, records, partitions int) batch.Producer {
	return batch.Producer{ID: s.id, Epoch: int16(partitions), Sequence: int32((last - int64(records)) & 0x7fffffff)}
}

// Spread sets the number of partitions that later messages are spread over. If it has changed,
// Spread waits for the appends under way, so that no earlier number is lost when later ones are
// stored.
func (s *Stream) Spread(partitions int) {
	if s.partitions != 0 && s.partitions != partitions {
		s.of.mu.Lock()
		for s.of.pending > 0 {
			s.of.idle.Wait()
		}
		s.of.mu.Unlock()
	}
	s.partitions = partitions
}

// IsReplaced reports whether another connection goes on with the stream. Any goroutine may
// call it.
func (s *Stream) IsReplaced() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.of.owner != s
}
