package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

// over is a context that has ended.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Clients publish, commit and let messages fail while their broker ends, in good order or not. What was confirmed to them is
// there afterwards, and everything that waits ends.
func TestWhatIsConfirmedWhileABrokerLeavesIsDurable(t *testing.T) {
	for _, ctx := range []context.Context{context.Background(), over()} {
		s := setup{dir: t.TempDir()}
		b := mustOpen(t, s)
		topic := mustMake(t, b, "orders")
		var appended, committed int64
		var clients sync.WaitGroup
		began := make(chan struct{}, 4)
		clients.Go(func() {
			for {
				var one batch.Builder
				one.Add(1000, nil, []byte("message"))
				one.Close(0)
				base, err := topic.Partitions()[0].AppendAndWait(one.Bytes())
				if err != nil {
					return
				}
				if appended = base + 1; base == 100 {
					began <- struct{}{}
				}
			}
		})
		clients.Go(func() {
			for n := int64(1); ; n++ {
				done := make(chan error)
				b.CommitOffsets("billing", []group.Commit{{Topic: "orders", Offset: n % 2, Metadata: "1"}}, func(errs []error) { done <- errs[0] })
				if err := <-done; err != nil {
					return
				}
				if committed = n; n == 20 {
					began <- struct{}{}
				}
			}
		})
		stop := make(chan struct{})
		for range 2 {
			clients.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					settled := make(chan struct{})
					b.Bury(topic, group.Failed{Position: group.NewPosition(0), Attempts: 5}, "no good", func() { close(settled) })
					<-settled
					if n == 5 {
						began <- struct{}{}
					}
				}
			})
		}
		for range cap(began) {
			<-began
		}
		within(t, "the broker leaves", func() { _ = b.Leave(ctx) })
		close(stop)
		within(t, "the clients end", clients.Wait)
		b = mustOpen(t, s)
		found, err := b.Topic("orders")
		if err != nil {
			t.Fatal(err)
		}
		if _, high := found.Partitions()[0].Offsets(); high < appended {
			t.Errorf("%d messages are acknowledged, and %d are there", appended, high)
		}
		at, _ := b.Broker.As(broker.Self).CommittedOffset("billing", "orders", 0)
		if next := (committed + 1) % 2; at.Offset != committed%2 && at.Offset != next {
			t.Errorf("commit %d was confirmed, and the offset is %d", committed, at.Offset)
		}
		mustClose(t, b)
	}
}

// A stuckStore answers appends when it is closed, as one that has lost the other nodes.
type stuckStore struct {
	*storefault.Store
	mu     sync.Mutex // guards what follows
	stuck  bool
	closed bool
	dones  []func(int64, error)
}

func newStuckStore(s store.Store) *stuckStore {
	w := &stuckStore{Store: &storefault.Store{Store: s}}
	w.Append = func(p store.Partition, _ string, batches []byte, done func(int64, error)) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.closed:
			return store.ErrMoved
		case w.stuck:
			w.dones = append(w.dones, done)
			return nil
		}
		return store.Append(p, batches, done)
	}
	return w
}

// Close fails what is under way.
func (w *stuckStore) Close() error {
	w.mu.Lock()
	dones := w.dones
	w.dones, w.closed = nil, true
	w.mu.Unlock()
	for _, done := range dones {
		done(0, store.ErrMoved)
	}
	return w.Store.Close()
}

// Where the store answers nothing any more, a broker leaves as soon as its time is over, and a position that waits for it is
// not confirmed.
func TestABrokerLeavesAStoreThatDoesNotAnswer(t *testing.T) {
	for _, patience := range []time.Duration{0, 20 * time.Millisecond} {
		var st *stuckStore
		book := new(brokertest.LogBook)
		s := setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store { st = newStuckStore(s); return st }}
		s.options.Log = slog.New(slog.NewTextHandler(book, nil))
		b := mustOpen(t, s)
		mustFill(t, b, "orders")
		consume(t, position(t, b, "billing", "orders", 0), 0, 10)
		mustSync(t, b)
		st.mu.Lock()
		st.stuck = true
		st.mu.Unlock()
		confirmed := make(chan error, 1)
		b.CommitOffsets("billing", []group.Commit{{Topic: "orders", Offset: 20}}, func(errs []error) { confirmed <- errs[0] })
		await(t, "the commit waits", func() bool { st.mu.Lock(); defer st.mu.Unlock(); return len(st.dones) > 0 })
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		within(t, "the broker leaves", func() { _ = b.Leave(ctx) })
		cancel()
		if err := <-confirmed; !errors.Is(err, store.ErrMoved) {
			t.Errorf("the commit ends with %v", err)
		}
		b.CommitOffsets("billing", []group.Commit{{Topic: "orders", Offset: 30}}, func(errs []error) { confirmed <- errs[0] })
		if err := <-confirmed; !errors.Is(err, store.ErrMoved) {
			t.Errorf("a late commit ends with %v", err)
		}
		if lines := book.Lines("level=ERROR"); len(lines) > 0 {
			t.Errorf("it logs %q", lines)
		}
	}
}

// An opening log is not open yet, and says nothing of its end.
type opening struct {
	store.Partition
	opened *bool
}

func (p *opening) Available() error {
	if !*p.opened {
		return store.ErrUnavailable
	}
	return nil
}

func (p *opening) Offsets() (start, high int64) {
	if !*p.opened {
		return 0, 0
	}
	return p.Partition.Offsets()
}

type openingStore struct {
	store.Store
	topic  string
	opened *bool
}

func (s openingStore) Partition(topic string, number int) (store.Partition, error) {
	p, err := s.Store.Partition(topic, number)
	if topic == s.topic {
		p = &opening{p, s.opened}
	}
	return p, err
}

// A position is not beyond the end of a log that is not open yet.
func TestAPositionInALogThatIsNotAvailableStays(t *testing.T) {
	opened := true
	s := setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store { return openingStore{s, "orders", &opened} }}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 10)
	mustSync(t, b)
	mustClose(t, b)
	opened = false
	b = mustOpen(t, s)
	position(t, b, "billing", "orders", 0).Close()
	opened = true
	free, _ := position(t, b, "billing", "orders", 0).Free(filled, time.Now())
	if want := (group.Span{From: 10, To: filled}); free != want {
		t.Errorf("%v are free, not %v", free, want)
	}
	mustClose(t, b)
}

// Nothing begins that the end would not wait for.
func TestNoWorkBeginsBesideTheEnd(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	if !b.BeginWork() {
		t.Fatal("no work begins")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		mustClose(t, b)
	}()
	await(t, "no more work begins", func() bool {
		begins := b.BeginWork()
		if begins {
			b.EndWork()
		}
		return !begins
	})
	select {
	case <-ended:
		t.Error("the end does not wait for the work")
	default:
	}
	b.EndWork()
	<-ended
}
