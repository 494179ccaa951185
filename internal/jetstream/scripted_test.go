package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"mbus/internal/store"
)

// A scripted engine is one stream in memory that does to each attempt what the test says. It has three
// replicas, which may lag or have messages damaged; number 0 leads.
type scripted struct {
	mu     sync.Mutex
	last_  uint64
	log    []scriptedMessage // ascending
	script func(place, []byte) fate
	reads  func(replica int) readFate
	edit   func(replica int, s stored) (stored, bool) // what a replica has of a message; false: it lacks it
	flying map[string]int                             // attempts with a condition that were not decided yet, by subject
	most   int                                        // of these at a time, of one owner
}

type scriptedMessage struct {
	stored
	subject string
}

// A fate is what happens to an attempt to publish.
type fate struct {
	lost     bool          // on the way to the engine
	delay    time.Duration // on the way to the engine
	unheard  bool          // the answer is lost
	answer   error         // what is said in place of the truth
	unstored bool          // and it is not stored
}

// A readFate is what happens to a read.
type readFate struct {
	silent bool
	lag    int // messages that the replica does not have yet
}

func newScripted() *scripted {
	return &scripted{
		script: func(place, []byte) fate { return fate{} },
		reads:  func(int) readFate { return readFate{} },
		edit:   func(_ int, s stored) (stored, bool) { return s, true },
	}
}

var errWrong = errors.New("wrong last sequence") // 10071

type scriptedPublishing struct {
	s   *scripted
	at  place
	got chan answer
}

func (s *scripted) publishing(at place) publishing {
	return &scriptedPublishing{s, at, make(chan answer, 100)}
}

func (p *scriptedPublishing) answers() <-chan answer { return p.got }
func (p *scriptedPublishing) end()                   {}

func (p *scriptedPublishing) send(c condition, data []byte) error {
	p.s.mu.Lock()
	f := p.s.script(p.at, data)
	p.s.mu.Unlock()
	data = slices.Clone(data)
	if f.lost {
		return nil
	}
	go func() {
		if f.delay > 0 {
			time.Sleep(f.delay)
		}
		a := answer{err: f.answer}
		if !f.unstored {
			if a = p.s.store(p.at, c, data); f.answer != nil {
				a.err = f.answer
			}
		}
		if !f.unheard {
			p.got <- a
		}
	}()
	return nil
}

// store stores a message if its condition holds.
func (s *scripted) store(at place, c condition, data []byte) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var of uint64
	for _, m := range s.log {
		if m.subject == at.subject {
			of = m.seq
		}
	}
	if c.kind == lastOfAll && c.seq != s.last_ || c.kind == lastOfThis && c.seq != of {
		return answer{err: errWrong}
	}
	s.last_++
	s.log = append(s.log, scriptedMessage{stored{s.last_, data}, at.subject})
	return answer{seq: s.last_}
}

// has gives what a replica has of a subject from a sequence on.
func (s *scripted) has(replica int, at place, from uint64) (list []stored, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.reads(replica)
	if f.silent {
		return nil, true
	}
	for _, m := range s.log[:max(0, len(s.log)-f.lag)] {
		if m.subject != at.subject || m.seq < from {
			continue
		}
		if e, ok := s.edit(replica, m.stored); ok {
			list = append(list, e)
		}
	}
	return list, false
}

func (s *scripted) next(_ context.Context, at place, from uint64, patience time.Duration) (stored, error) {
	list, silent := s.has(0, at, from)
	if silent {
		time.Sleep(patience)
		return stored{}, errSilent
	}
	if len(list) == 0 {
		return stored{}, errNone
	}
	return list[0], nil
}

func (s *scripted) last(_ context.Context, at place, patience time.Duration) (stored, error) {
	list, silent := s.has(0, at, 0)
	if silent {
		time.Sleep(patience)
		return stored{}, errSilent
	}
	if len(list) == 0 {
		return stored{}, errNone
	}
	return list[len(list)-1], nil
}

func (s *scripted) some(_ context.Context, at place, from uint64, max int, patience time.Duration) ([]stored, error) {
	list, silent := s.has(rand.IntN(3), at, from)
	if silent {
		time.Sleep(patience)
		return nil, errSilent
	}
	if len(list) == 0 {
		return nil, errNone
	}
	for n, i := 0, 0; i < len(list); i++ {
		if n += len(list[i].data); n >= max {
			list = list[:i+1]
		}
	}
	return list, nil
}

func (s *scripted) purge(_ context.Context, at place, below uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = slices.DeleteFunc(s.log, func(m scriptedMessage) bool { return m.subject == at.subject && m.seq < below })
	return nil
}

func (s *scripted) remove(_ context.Context, at place, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = slices.DeleteFunc(s.log, func(m scriptedMessage) bool { return m.subject == at.subject && m.seq == seq })
	return nil
}

// of gives the messages of a subject.
func (s *scripted) of(at place) (list []stored) {
	list, _ = s.has(0, at, 0)
	return list
}

var (
	scriptedTopic = &store.Topic{Name: "orders", Partitions: 1, Epoch: 7}
	scriptedPlace = place{"mb_t", "mb.t.0"}
)

// owned makes an owner of a scripted engine with one partition, which is not open yet. It ends when the
// ownership is lost.
func (s *scripted) owned(t testing.TB, epoch uint32) *partition {
	o := newOwner(s, epoch, testSizes, slog.New(slog.DiscardHandler))
	p := newPartition(o, scriptedTopic, 0, scriptedPlace)
	p.alone.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-o.ctx.Done()
		select {
		case <-o.lost:
			p.abandon(o.moved())
		default:
		}
	}()
	t.Cleanup(func() {
		o.cancel()
		<-ended
	})
	return p
}

// opened is an owner with its partition open.
func (s *scripted) opened(t testing.TB, epoch uint32) *partition {
	t.Helper()
	p := s.owned(t, epoch)
	if _, err := p.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// walkAll reads all messages as a later owner and a reader of the stream would, and checks that they
// follow on each other: no gap, no repeat, no lower epoch. It returns the base offset of each batch by
// its content.
func walkAll(t testing.TB, list []stored) (high int64) {
	t.Helper()
	var epoch uint32
	for _, s := range list {
		m, err := parse(s, scriptedTopic.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		if m.kind == fence {
			continue
		}
		if m.base != high {
			t.Fatalf("the message of sequence %d begins at offset %d, and the one before ends at %d", s.seq, m.base, high)
		}
		if m.epoch < epoch {
			t.Fatalf("the message of sequence %d is of epoch %d, and the one before of epoch %d", s.seq, m.epoch, epoch)
		}
		high, epoch = m.next, m.epoch
	}
	return high
}
