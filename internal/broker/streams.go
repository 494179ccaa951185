package broker

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"mbus/internal/batch"
)

// Errors for a producer that goes on with a stream.
var (
	ErrReplaced   = errors.New("another connection goes on with this stream")
	ErrStreamGone = errors.New("the topic was created again")
)

// Streams are the numbered messages of the producers of one topic: the message that has a
// number is stored once, however often it is sent. The log keeps the numbers: the producer id of
// a batch is the stream, and the sequence number of its last record is that record's number
// less 1. The producer epoch is 0 if the records are numbered without a gap, and otherwise the
// topic's number of partitions, over which the messages were spread. A message that waits has
// them in its own batch.
type streams struct {
	loading sync.Mutex // held while the log's end is read; taken before mu

	mu     sync.Mutex // guards what follows; taken before that of a stream
	byID   map[int64]*stream
	loaded bool // the log's end has been read; written with loading held, too
	whole  bool // then that was all of the log
	forgot bool // a stream has been forgotten since
}

// A stream is what is known of one producer's messages.
type stream struct {
	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // no append is under way
	owner   *Stream    // the connection that may write; nil for none
	turn    uint64     // of the owner, or of the latest there was
	pending int        // appends under way, of all connections
	used    time.Time
	stored  storedSet
	known   bool  // the whole numbers are known, not only their last 31 bits
	latest  int64 // number, by which others' higher bits are found
}

func newStream() *stream {
	st := new(stream)
	st.idle.L = &st.mu
	return st
}

// of finds or creates a stream. The caller holds mu.
func (s *streams) of(id int64) *stream {
	st := s.byID[id]
	if st == nil {
		if s.byID == nil {
			s.byID = make(map[int64]*stream)
		}
		if len(s.byID) >= maxStreams {
			s.forget()
		}
		st = newStream()
		s.byID[id] = st
	}
	return st
}

// forget drops a tenth of the streams that have no connection and no append under way: those
// that have been silent longest.
func (s *streams) forget() {
	type silent struct {
		id   int64
		used time.Time
	}
	var all []silent
	for id, st := range s.byID {
		st.mu.Lock()
		if st.owner == nil && st.pending == 0 {
			all = append(all, silent{id, st.used})
		}
		st.mu.Unlock()
	}
	slices.SortFunc(all, func(x, y silent) int { return cmp.Compare(x.used.UnixNano(), y.used.UnixNano()) })
	for _, x := range all[:(len(all)+9)/10] {
		delete(s.byID, x.id)
	}
	s.forgot = true
}

// load reads the end of each partition, and the messages that wait, once. New streams do not
// wait for it.
func (s *streams) load(b *Broker, t *Topic, quit <-chan struct{}) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.loaded {
		return nil
	}
	s.adopt(b.waitingOf(t))
	whole := true
	for _, p := range t.Partitions() {
		all, err := s.loadPartition(p, quit)
		if err != nil {
			return err
		}
		whole = whole && all
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded, s.whole = true, whole
	return nil
}

// loadPartition reads the end of a partition, up to its present end: the streams themselves
// note later writes. all reports that the partition never held more.
func (s *streams) loadPartition(p *Partition, quit <-chan struct{}) (all bool, err error) {
	holes := 0
	missing := func(err error) error {
		p.broker.Log.Warn("what producers had stored may be missing", "topic", p.topic.Name, "partition", p.number, "reason", err)
		holes++
		return nil
	}
	from, err := p.readTail(streamTail, quit, missing, func(b batch.Batch) { s.replay(b, p.number, holes) })
	return from == 0 && holes == 0, err
}

// adopt takes what the log of delayed messages says; nil for nothing.
func (s *streams) adopt(waiting *streams) {
	if waiting == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, w := range waiting.byID {
		st := s.of(id)
		st.mu.Lock()
		if st.known {
			w.stored.shift(nearest(w.latest, st.latest))
		} else {
			st.latest = w.latest
		}
		st.stored.merge(w.stored)
		st.mu.Unlock()
	}
}

// replay takes a stored batch.
func (s *streams) replay(b batch.Batch, partition, holes int) {
	p := b.Producer()
	if p.ID <= 0 || isKeyed(b) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.of(p.ID)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.used = time.Now()
	records := int(b.LastOffsetDelta()) + 1
	next := st.whole(finalSequence(b)) + 1
	if p.Epoch == 0 {
		st.stored.exact.add(stretch{next - int64(records), next})
	} else {
		st.stored.link(chain{int(p.Epoch), partition}, records, next, holes)
	}
}

// whole is the number, from 0, of which a log has the last 31 bits: the one nearest to
// the latest.
func (st *stream) whole(sequence int32) int64 {
	if !st.known && st.latest == 0 {
		st.latest = int64(sequence)
	}
	n := int64(sequence) + nearest(int64(sequence), st.latest)
	if !st.known {
		st.latest = n
	}
	return n
}

// nearest is what is to be added to n, a multiple of 1<<31, to have it near to.
func nearest(n, to int64) int64 {
	const wrap = 1 << 31
	return (to - n + wrap/2) &^ (wrap - 1)
}
