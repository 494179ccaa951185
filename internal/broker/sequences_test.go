package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// errLost stands for an append that fails after Write has returned.
var errLost = errors.New("the disk has lost it")

// A whim says what the store does with the next appends to topic "orders".
type whim struct {
	mu   sync.Mutex
	rng  *rand.Rand // nil for a disk that works
	all  bool       // what follows on an append that fails later fails, too
	lost bool       // one has failed so
	hold bool       // the next append waits for let
	let  chan error // what becomes of the one that waits
}

func (w *whim) wrap(s store.Store) store.Store {
	return &storefault.Store{Store: s, Append: func(inner store.Partition, topic string, p []byte, done func(int64, error)) error {
		if topic != "orders" {
			return store.Append(inner, p, done)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.hold {
			w.hold = false
			go func() {
				if err := <-w.let; err != nil {
					done(0, err)
				} else if err := store.Append(inner, p, done); err != nil {
					done(0, err)
				}
			}()
			return nil
		}
		if w.rng != nil {
			roll := w.rng.IntN(8)
			if w.lost && w.all {
				roll = 1
			}
			switch roll {
			case 0:
				return store.ErrFull
			case 1:
				w.lost = true
				go done(0, errLost)
				return nil
			}
		}
		return store.Append(inner, p, done)
	}}
}

func (w *whim) set(rng *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rng, w.lost = rng, false
}

func (w *whim) holdNext() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold, w.let = true, make(chan error, 1)
}

// A client is an idempotent producer that sends batches of one record in order, up to
// five before the first is answered, and what has failed once more, in order.
type client struct {
	id    int64
	acked map[int]bool
	next  int // the first number that is not acknowledged
	sent  int // the highest number sent, and one
}

func (c *client) payload(n int) string { return fmt.Sprintf("%d %d", c.id, n) }

func (c *client) batch(n int) batch.Batch {
	var b batch.Builder
	b.Add(1000, nil, []byte(c.payload(n)))
	b.Close(0)
	return batchtest.Idempotent(b.Bytes(), c.id, 0, int32(n))
}

// burst sends some batches, from one that was acknowledged before on, and takes the
// answers.
func (c *client) burst(t *testing.T, b *bus, rng *rand.Rand) {
	topic := mustMake(t, b, "orders")
	first := max(0, c.next-rng.IntN(2))
	n := 1 + rng.IntN(5)
	answers := make([]chan error, n)
	for i := range n {
		answers[i] = make(chan error, 1)
		c.sent = max(c.sent, first+i+1)
		if err := begin(b, topic, 0, c.batch(first+i), func(_ int64, err error) { answers[i] <- err }); err != nil {
			answers[i] <- err
		}
	}
	for i := range n {
		err := <-answers[i]
		switch {
		case err == nil:
			c.acked[first+i] = true
		case c.acked[first+i]:
			t.Fatalf("producer %d: number %d, acknowledged before: %v", c.id, first+i, err)
		case !errors.Is(err, store.ErrFull) && !errors.Is(err, errLost) && !errors.Is(err, broker.ErrOutOfOrder):
			t.Fatalf("producer %d: number %d: %v", c.id, first+i, err)
		}
	}
	for c.acked[c.next] {
		c.next++
	}
}

// payloads are all records of topic "orders", in order.
func payloads(t *testing.T, b *bus) (all []string) {
	t.Helper()
	p := mustMake(t, b, "orders").Partitions()[0]
	batches, err := storetest.ReadWith(p.Offsets, p.Fetch, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var it batch.Iterator
	for _, b := range batches {
		if err := it.Reset(b.Bytes); err != nil {
			t.Fatal(err)
		}
		for it.Next() {
			all = append(all, string(it.Record().Value))
		}
	}
	return all
}

// TestIdempotentProducersAgainstAModel has two producers send in any interleaving, with
// appends that fail at once or later, over restarts and crashes.
func TestIdempotentProducersAgainstAModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 5))
			w := &whim{all: seed%2 == 0}
			s := setup{disk: crashfs.New(), wrap: w.wrap, log: commitlog.Options{SegmentBytes: 4 << 10}}
			b := mustOpen(t, s)
			clients := []*client{{id: 7, acked: make(map[int]bool)}, {id: 8, acked: make(map[int]bool)}}
			for range 60 {
				w.set(nil)
				if rng.IntN(2) == 0 {
					w.set(rng)
				}
				clients[rng.IntN(2)].burst(t, b, rng)
				switch rng.IntN(12) {
				case 0:
					mustClose(t, b)
					b = mustOpen(t, s)
				case 1:
					s.disk = s.disk.Crash(crashfs.Nothing())
					b = mustOpen(t, s)
				}
			}
			times := make(map[string]int)
			order := make(map[int64]int)
			for _, text := range payloads(t, b) {
				var id int64
				var n int
				fmt.Sscan(text, &id, &n)
				if times[text]++; n != order[id] && w.all {
					t.Errorf("producer %d: number %d is stored where %d was to come", id, n, order[id])
				}
				order[id] = n + 1
			}
			for _, c := range clients {
				for n := range c.sent {
					if got := times[c.payload(n)]; got > 1 || got == 0 && c.acked[n] {
						t.Errorf("producer %d: number %d, acknowledged %v, is stored %d times", c.id, n, c.acked[n], got)
					}
				}
			}
			mustClose(t, b)
		})
	}
}

func TestABatchThatFailsLaterIsNotRememberedAsStored(t *testing.T) {
	w := new(whim)
	b := newTryout(t, setup{dir: t.TempDir(), wrap: w.wrap})
	b.mustProduce(idempotent(7, 0, 0, 1), 0)
	w.holdNext()
	w.let <- errLost
	b.mustRefuse(idempotent(7, 0, 1, 1), errLost)
	b.mustRefuse(idempotent(7, 0, 2, 1), broker.ErrOutOfOrder) // a gap
	b.mustProduce(idempotent(7, 0, 1, 1), 1)
	b.mustProduce(idempotent(7, 0, 1, 1), 1)
	b.mustProduce(idempotent(7, 0, 2, 1), 2)
}

func TestABatchThatFailsAfterTheNextWasStoredMayBeSentAgain(t *testing.T) {
	w := new(whim)
	b := newTryout(t, setup{dir: t.TempDir(), wrap: w.wrap})
	b.mustProduce(idempotent(7, 0, 0, 1), 0)
	w.holdNext()
	failed := make(chan error, 1)
	if err := b.begin(b.topic, 0, idempotent(7, 0, 1, 1), func(_ int64, err error) { failed <- err }); err != nil {
		t.Fatal(err)
	}
	b.mustProduce(idempotent(7, 0, 2, 1), 1)
	w.let <- errLost
	if err := <-failed; !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	b.mustRefuse(idempotent(7, 0, 3, 1), broker.ErrOutOfOrder) // before the one that is missing
	b.mustRefuse(idempotent(7, 0, 1, 2), broker.ErrOutOfOrder) // not the same
	b.mustProduce(idempotent(7, 0, 2, 1), 1)
	b.mustProduce(idempotent(7, 0, 1, 1), 2)
	b.mustProduce(idempotent(7, 0, 3, 1), 3)
	b.mustProduce(idempotent(7, 0, 1, 1), 2)
}

func TestTheFirstBatchOfAProducerThatFailsLeavesNoGap(t *testing.T) {
	w := new(whim)
	b := newTryout(t, setup{dir: t.TempDir(), wrap: w.wrap})
	for name, fail := range map[string]func(){
		"at once": func() { w.set(rand.New(always(0))) },
		"later":   func() { w.holdNext(); w.let <- errLost },
	} {
		id := int64(len(name))
		fail()
		if base, err := b.produce(idempotent(id, 0, 5, 2)); err == nil {
			t.Fatalf("%s: it is stored at %d", name, base)
		}
		w.set(nil)
		b.mustRefuse(idempotent(id, 0, 7, 1), broker.ErrOutOfOrder)
		if _, err := b.produce(idempotent(id, 0, 5, 1)); err != nil { // another cut of the same messages
			t.Errorf("%s: sent again: %v", name, err)
		}
		if _, err := b.produce(idempotent(id, 0, 6, 2)); err != nil {
			t.Errorf("%s: the next: %v", name, err)
		}
		b.mustRefuse(idempotent(id, 0, 9, 1), broker.ErrOutOfOrder)
	}
}

// always is a source of one number.
type always uint64

func (a always) Uint64() uint64 { return uint64(a) }

func TestTheFirstIdempotentBatchReadsTheLogsEndOnly(t *testing.T) {
	brokertest.Slow(t)
	read := make(map[int]int64)
	for _, mib := range []int{70, 210} {
		disk := crashfs.New()
		s := setup{disk: disk, log: commitlog.Options{SegmentBytes: 4 << 20}}
		b := mustOpen(t, s)
		p := mustMake(t, b, "orders").Partitions()[0]
		for range mib {
			publish(t, p, time.UnixMilli(1000), 4, 1<<18)
		}
		mustClose(t, b)
		b = mustOpen(t, s)
		before := disk.BytesRead("")
		done := make(chan error, 1)
		if err := begin(b, mustMake(t, b, "orders"), 0, idempotent(7, 0, 0, 1), func(_ int64, err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		read[mib] = disk.BytesRead("") - before
		mustClose(t, b)
	}
	if read[210]-read[70] > 1<<10 || read[70] > 70<<20 {
		t.Errorf("bytes read by the MiB of the log: %v", read)
	}
}

// BenchmarkFirstIdempotentBatch is what the first batch of a producer takes after a start:
// it reads the last 64 MiB of the log, however long that is.
func BenchmarkFirstIdempotentBatch(b *testing.B) {
	for _, mib := range []int{32, 96, 192} {
		b.Run(fmt.Sprint(mib, "MiB"), func(b *testing.B) {
			s := setup{disk: crashfs.New()}
			bus := mustOpen(b, s)
			for range mib {
				publish(b, mustMake(b, bus, "orders").Partitions()[0], time.UnixMilli(1000), 1000, 1000)
			}
			mustClose(b, bus)
			for b.Loop() {
				b.StopTimer()
				bus := mustOpen(b, s)
				topic := mustMake(b, bus, "orders")
				done := make(chan error, 1)
				b.StartTimer()
				err := begin(bus, topic, 0, idempotent(7, 0, 0, 1), func(_ int64, err error) { done <- err })
				if err == nil {
					err = <-done
				}
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				mustClose(b, bus)
				b.StartTimer()
			}
		})
	}
}

// A batch of which one half waits and the other is refused, at once or later, is sent again
// until it is taken: each of its messages is there once.
func TestEachHalfOfABatchThatIsSentAgainIsStoredOnce(t *testing.T) {
	brokertest.Slow(t)
	for name, fail := range map[string]func(*whim){
		"at once": func(w *whim) { w.set(rand.New(always(0))) },
		"later":   func(w *whim) { w.holdNext(); w.let <- errLost },
	} {
		t.Run(name, func(t *testing.T) {
			w := new(whim)
			b := newTryout(t, setup{dir: t.TempDir(), wrap: w.wrap})
			soon := time.Now().Add(500 * time.Millisecond)
			var halves batch.Builder
			halves.Add(1, nil, []byte("now"))
			halves.Add(1, nil, []byte("later"), batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, soon.UnixMilli(), 10)})
			halves.Close(0)
			p := batchtest.Idempotent(halves.Bytes(), 7, 0, 0)
			for range 2 {
				fail(w)
				if _, err := b.produce(p); err == nil {
					t.Fatal("it is stored")
				}
			}
			w.set(nil)
			for range 2 {
				if _, err := b.produce(p); err != nil {
					t.Fatal(err)
				}
			}
			b.mustRefuse(idempotent(7, 0, 3, 1), broker.ErrOutOfOrder)
			await(t, "both are there", func() bool { return len(payloads(t, b.bus)) >= 2 })
			marker := time.Now().Add(300 * time.Millisecond) // what would come twice is due before
			if _, err := b.topic.Partitions()[0].AppendAndWait(waiting(marker, "marker")); err != nil {
				t.Fatal(err)
			}
			await(t, "the delayed message is there", func() bool {
				all := payloads(t, b.bus)
				return len(all) > 0 && all[len(all)-1] == "marker"
			})
			times := make(map[string]int)
			for _, text := range payloads(t, b.bus) {
				times[text]++
			}
			if times["now"] != 1 || times["later"] != 1 || times["marker"] != 1 {
				t.Errorf("stored: %v", times)
			}
		})
	}
}
