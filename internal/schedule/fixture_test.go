package schedule

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// orders and stock are topics by their ids.
var orders, stock = [16]byte{1}, [16]byte{2}

// A world is what a schedule works with in tests: a disk, a clock that stands still, and
// topics in memory.
type world struct {
	t    testing.TB
	disk *crashfs.FS
	log  brokertest.LogBook

	mu      sync.Mutex
	now     time.Time
	got     map[Target][]string // values that have been appended
	fails   error               // of appends, and of finding a topic that is not deleted
	deleted map[[16]byte]bool
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, disk: crashfs.New(), now: time.UnixMilli(1_800_000_000_000),
		got: make(map[Target][]string), deleted: make(map[[16]byte]bool),
	}
}

// Name implements Topics.
func (w *world) Name(topic [16]byte) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint("topic", topic[0]), !w.deleted[topic]
}

// Destination implements Topics.
func (w *world) Destination(t Target, name string) (Destination, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deleted[t.Topic] {
		return nil, ErrTopicDeleted
	}
	return sink{w, t}, nil
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// set changes the world.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// arrived is what has been appended to a partition.
func (w *world) arrived(t Target) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.got[t]...)
}

func (w *world) await(what string, holds func() bool) {
	w.t.Helper()
	brokertest.Await(w.t, patience, what, holds)
}

// A sink is a partition in memory.
type sink struct {
	w *world
	t Target
}

func (s sink) Target() Target            { return s.t }
func (s sink) MaxBatch() int             { return 1 << 20 }
func (s sink) Sync(done func(err error)) { done(nil) }

// Append implements Destination.
func (s sink) Append(batches []byte, done func(int64, error)) error {
	s.w.mu.Lock()
	if s.w.fails != nil {
		defer s.w.mu.Unlock()
		return s.w.fails
	}
	base := int64(len(s.w.got[s.t]))
	var it batch.Iterator
	for rest := batches; len(rest) > 0; {
		b, next, err := batch.Next(rest)
		if err != nil {
			s.w.t.Error(err)
		}
		if err := it.Reset(b); err != nil {
			s.w.t.Error(err)
		}
		for it.Next() {
			s.w.got[s.t] = append(s.w.got[s.t], string(it.Record().Value))
		}
		rest = next
	}
	s.w.mu.Unlock()
	done(base, nil)
	return nil
}

// A run is a schedule over the world's disk.
type run struct {
	*Schedule
	w    *world
	st   store.Store
	stop chan struct{}
	done chan struct{}
}

// start starts a schedule whose log is compacted from so many bytes on.
func (w *world) start(compactBytes int64) *run {
	w.t.Helper()
	st, err := commitlog.Open("/data", commitlog.Options{FS: w.disk, SegmentBytes: 4 << 10})
	if err != nil {
		w.t.Fatal(err)
	}
	o := Options{
		Hide: func(int64) {}, Topics: w, Now: w.clock, Report: slog.New(slog.NewTextHandler(&w.log, nil)),
		CompactBytes: compactBytes, BatchBytes: 1 << 10, Numbered: func([16]byte, batch.Producer) {},
		Create: func() (store.Partition, error) {
			if _, err := st.CreateTopic(Topic, 1, ""); err != nil {
				return nil, err
			}
			return st.Partition(Topic, 0)
		},
	}
	if log, err := st.Partition(Topic, 0); err == nil {
		o.Log = log
	}
	r := &run{New(o), w, st, make(chan struct{}), make(chan struct{})}
	go func() {
		r.Run(r.stop, w.holds)
		close(r.done)
	}()
	return r
}

// holds says whether a message has been appended, by its offset.
func (w *world) holds(t Target, offset int64) bool { return offset < int64(len(w.arrived(t))) }

// end ends the schedule and closes the store.
func (r *run) end() {
	r.w.t.Helper()
	if err := r.halt(); err != nil {
		r.w.t.Error(err)
	}
}

// halt is end for a disk that may be dead.
func (r *run) halt() error {
	close(r.stop)
	<-r.done
	return r.st.Close()
}

// keep makes messages durable that are due after so long each.
func (r *run) keep(to Target, messages map[string]time.Duration) *Kept {
	r.w.t.Helper()
	now := r.w.clock()
	b := NewBuilder(to, "topic", now.UnixMilli(), r.BatchBytes)
	for value, after := range messages {
		b.Add(&batch.Record{Value: []byte(value)}, now.Add(after).UnixMilli())
	}
	type outcome struct {
		kept *Kept
		err  error
	}
	durable := make(chan outcome, 1)
	if err := r.Keep(b.Waiting(), func(k *Kept, err error) { durable <- outcome{k, err} }); err != nil {
		r.w.t.Fatal(err)
	}
	got := <-durable
	if got.err != nil {
		r.w.t.Fatal(got.err)
	}
	return got.kept
}

// pass has time pass.
func (r *run) pass(d time.Duration) {
	r.w.set(func() { r.w.now = r.w.now.Add(d) })
	r.poke()
}

// noted says whether everything is delivered, dropped or cancelled, and noted.
func (r *run) noted() bool {
	<-r.Loaded()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usage.left == 0 && len(r.notes.unnoted) == 0 && len(r.queues.byTarget) == 0
}
