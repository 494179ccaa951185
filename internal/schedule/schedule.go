// Package schedule keeps messages that are not due yet, and appends each to its partition
// when it is due. They wait in a log of their own, whose records FORMAT.md describes under
// "Delayed messages"; in memory each takes 16 bytes. The package has no sockets and knows no
// broker: Topics find the partitions.
package schedule

import (
	"container/heap"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// Topic is the name of the topic that has the log.
const Topic = "__delayed"

// A Target is a partition of one incarnation of a topic.
type Target struct {
	Topic     [16]byte // id
	Partition uint32
}

// A Destination is a partition that messages are appended to when they are due.
type Destination interface {
	Target() Target
	// MaxBatch is the size of the largest batch that the partition takes, in bytes.
	MaxBatch() int
	// Append appends batches, whatever the headers of their messages say. It is as
	// store.Append.
	Append(batches []byte, done func(base int64, err error)) error
	// Sync calls done once what was appended without an error is durable.
	Sync(done func(error))
}

// Topics find the topics of messages. Their methods may be called by any goroutine.
type Topics interface {
	// Destination is the partition of a target, in the topic that had this name; another
	// partition of the topic if it does not have that one. The error is ErrTopicDeleted if
	// the messages are to be dropped, or says why they must wait.
	Destination(t Target, name string) (Destination, error)
	// Name is the name of the topic of an id; false if there is none.
	Name(topic [16]byte) (string, bool)
}

// ErrTopicDeleted says that the topic that messages are for was deleted.
var ErrTopicDeleted = errors.New("topic has been deleted")

// Options are what a schedule works with. All are needed but Log.
type Options struct {
	Log    store.Partition                 // of the messages; nil if none has ever waited
	Create func() (store.Partition, error) // creates the log
	Hide   func(before int64)              // called when nothing before an offset of the log waits, though it is kept
	Topics Topics
	Now    func() time.Time
	Report *slog.Logger

	CompactBytes int64 // size from which the log is compacted
	BatchBytes   int   // size at which a batch is closed

	// Numbered is called, before Loaded is closed, with the producer of each message of the
	// log that has a number, delivered or not.
	Numbered func(topic [16]byte, p batch.Producer)
}

// A Schedule is the messages that are not due yet. Its methods may be called by any
// goroutine.
type Schedule struct {
	Options
	loaded   chan struct{} // closed when the log has been read
	wake     chan struct{} // a queue has changed
	backlogs chan struct{} // an element for each backlog that is being delivered
	stop     <-chan struct{}
	ended    sync.WaitGroup // goroutines that Run has started
	end      int64          // of the log when the schedule was made

	mu      sync.Mutex // guards what follows
	log     store.Partition
	queues  queues
	usage   usage
	pending map[*Kept]struct{}
	notes   notes
	moves   moves
	damage  damage
}

// New makes a schedule; Run reads its log.
func New(o Options) *Schedule {
	s := &Schedule{
		Options: o,
		loaded:  make(chan struct{}), wake: make(chan struct{}, 1), backlogs: make(chan struct{}, backlogs),
		log: o.Log, queues: queues{byTarget: make(map[Target]*queue)}, pending: make(map[*Kept]struct{}),
		moves: moves{moved: make(map[int64]int64)}, damage: damage{reported: make(map[string]bool)},
	}
	if o.Log != nil {
		_, s.end = o.Log.Offsets()
	}
	return s
}

// Loaded is closed when the log has been read after a start, or can't be.
func (s *Schedule) Loaded() <-chan struct{} { return s.loaded }

// Used says whether a message has ever waited.
func (s *Schedule) Used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log != nil
}

// Counts is how many messages wait, by topic.
func (s *Schedule) Counts() map[[16]byte]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[[16]byte]int)
	for target, q := range s.queues.byTarget {
		counts[target.Topic] += len(q.waiting)
	}
	return counts
}

// openLog finds the log, or creates it.
func (s *Schedule) openLog() (store.Partition, error) {
	s.mu.Lock()
	log := s.log
	s.mu.Unlock()
	if log != nil {
		return log, nil
	}
	log, err := s.Create()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = log
	return log, nil
}

// Waiting is messages for one partition that wait, in the form of the log.
type Waiting struct {
	Target
	Topic string // its name
	Dues  []int64
	// Batches have a record for each of the messages: see Builder.
	Batches []byte
}

// Kept is messages that are durable in the log, and are delivered if Deliver is called;
// otherwise Cancel must be.
type Kept struct {
	s     *Schedule
	w     Waiting
	first int64 // offset in the log
}

// Keep appends messages to the log, and calls done when they are durable, or may not be. An
// error returned means that nothing was stored and done is not called. done must not block.
func (s *Schedule) Keep(w Waiting, done func(*Kept, error)) error {
	log, err := s.openLog()
	if err != nil {
		return err
	}
	size := int64(len(w.Batches))
	kept := func(first int64, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		k := &Kept{s, w, first}
		s.mu.Lock()
		s.usage.add(len(w.Dues), size)
		s.pending[k] = struct{}{}
		s.mu.Unlock()
		done(k, nil)
	}
	return store.Append(log, w.Batches, kept)
}

// Deliver has the messages delivered when they are due.
func (k *Kept) Deliver() {
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues.of(k.w.Target, k.w.Topic)
	for i, at := range k.w.Dues {
		q.waiting.push(due{at, k.first + int64(i)})
	}
	s.update(q)
	delete(s.pending, k)
}

// Cancel has the messages not be delivered.
func (k *Kept) Cancel() {
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage.left -= len(k.w.Dues)
	for i := range int64(len(k.w.Dues)) {
		s.notes.unnoted = append(s.notes.unnoted, k.first+i)
	}
	s.poke()
	delete(s.pending, k)
}

// Abandon has the messages for a topic that was deleted be dropped soon.
func (s *Schedule) Abandon(topic [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues.byTarget {
		if q.Topic == topic {
			q.atOnce = true
			s.update(q)
		}
	}
}

// update moves a queue that has changed to where it belongs. The caller holds mu.
func (s *Schedule) update(q *queue) {
	s.queues.update(q)
	if !q.busy {
		s.poke()
	}
}

// poke wakes the goroutine of Run.
func (s *Schedule) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next returns the queue whose turn it is; nil for none, with the time until the next one is
// due.
func (s *Schedule) next(now time.Time) (*queue, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queues.idle) == 0 {
		return nil, time.Hour
	}
	at := s.queues.idle[0].next()
	if at > now.UnixMilli() {
		return nil, max(0, min(maxSleep, time.UnixMilli(at).Sub(now)))
	}
	q := heap.Pop(&s.queues.idle).(*queue)
	q.busy, q.atOnce = true, false
	return q, 0
}

// hasBacklog says whether a queue may have more than a portion to deliver.
func (s *Schedule) hasBacklog(q *queue) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(q.waiting) > portionMessages
}

// popDue takes up to n messages of a queue that are due, in due order.
func (s *Schedule) popDue(q *queue, now time.Time, n int) (window []due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := now.UnixMilli()
	for len(q.waiting) > 0 && q.waiting[0].at <= ms && len(window) < n {
		m := q.waiting.pop()
		window = append(window, m)
		q.lowest = min(q.lowest, m.offset)
	}
	return window
}

// putBack has messages wait again.
func (s *Schedule) putBack(q *queue, messages []due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		if to, ok := s.moves.moved[m.offset]; ok {
			delete(s.moves.moved, m.offset)
			m.offset = to
		}
		q.waiting.push(m)
	}
}

// release makes a queue idle that was being delivered. Its next turn is not before a time.
func (s *Schedule) release(q *queue, notBefore time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.busy, q.lowest, q.notBefore = false, math.MaxInt64, notBefore.UnixMilli()
	s.update(q)
}
