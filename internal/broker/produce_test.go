package broker_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// idempotent is a batch of n records of a producer that goes on with number first.
func idempotent(producer int64, epoch int16, first int32, n int) batch.Batch {
	var builder batch.Builder
	for i := range n {
		builder.Add(1000+int64(i), nil, fmt.Append(nil, first+int32(i)))
	}
	builder.Close(0)
	return batchtest.Idempotent(builder.Bytes(), producer, epoch, first)
}

// A tryout is a broker with one topic that a test produces to.
type tryout struct {
	*bus
	t     *testing.T
	topic *broker.Topic
}

func newTryout(t *testing.T, s setup) *tryout {
	t.Helper()
	b := mustOpen(t, s)
	t.Cleanup(func() { mustClose(t, b) })
	topic, err := b.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	return &tryout{b, t, topic}
}

// begin produces and does not wait.
func (b *tryout) begin(t *broker.Topic, partition int, p batch.Batch, done func(int64, error)) error {
	return begin(b.bus, t, partition, p, done)
}

func begin(b *bus, t *broker.Topic, partition int, p batch.Batch, done func(int64, error)) error {
	return t.Partitions()[partition].Append(p, broker.AppendOptions{}, done)
}

// produce waits for the outcome.
func (b *tryout) produce(p batch.Batch) (base int64, err error) {
	b.t.Helper()
	type outcome struct {
		base int64
		err  error
	}
	done := make(chan outcome, 1)
	if err := b.begin(b.topic, 0, p, func(base int64, err error) { done <- outcome{base, err} }); err != nil {
		return -1, err
	}
	within(b.t, "produce is answered", func() {
		o := <-done
		base, err = o.base, o.err
	})
	return base, err
}

func (b *tryout) mustProduce(p batch.Batch, want int64) {
	b.t.Helper()
	if base, err := b.produce(p); err != nil || base != want {
		b.t.Fatalf("producer %d, epoch %d, sequence %d: offset %d, %v; want offset %d",
			p.ProducerID(), p.ProducerEpoch(), p.BaseSequence(), base, err, want)
	}
}

func (b *tryout) mustRefuse(p batch.Batch, want error) {
	b.t.Helper()
	_, before := b.topic.Partitions()[0].Offsets()
	if base, err := b.produce(p); !errors.Is(err, want) {
		b.t.Fatalf("producer %d, epoch %d, sequence %d: offset %d, %v; want %v",
			p.ProducerID(), p.ProducerEpoch(), p.BaseSequence(), base, err, want)
	}
	if _, after := b.topic.Partitions()[0].Offsets(); after != before {
		b.t.Fatalf("%d records were appended", after-before)
	}
}

func TestABatchThatIsSentAgainIsStoredOnce(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	for i := range int32(8) {
		b.mustProduce(idempotent(7, 0, 2*i, 2), int64(2*i))
	}
	for i := int32(3); i < 8; i++ { // the last five
		b.mustProduce(idempotent(7, 0, 2*i, 2), int64(2*i))
	}
	b.mustRefuse(idempotent(7, 0, 4, 2), broker.ErrOutOfOrder)  // too long ago
	b.mustRefuse(idempotent(7, 0, 14, 1), broker.ErrOutOfOrder) // not the same batch
	b.mustProduce(idempotent(7, 0, 16, 1), 16)
}

func TestProducersAreIndependent(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	b.mustProduce(idempotent(7, 0, 0, 1), 0)
	b.mustProduce(idempotent(8, 0, 0, 1), 1)
	b.mustProduce(idempotent(7, 0, 1, 1), 2)
	b.mustProduce(idempotent(8, 0, 0, 1), 1)
}

func TestSequenceNumbersMustFollowOnEachOther(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	b.mustProduce(idempotent(7, 0, 0, 3), 0)
	b.mustRefuse(idempotent(7, 0, 4, 1), broker.ErrOutOfOrder)
	b.mustRefuse(idempotent(7, 0, 2, 1), broker.ErrOutOfOrder)
	b.mustProduce(idempotent(7, 0, 3, 1), 3)
	b.mustProduce(idempotent(9, 0, 42, 1), 4) // it may have been forgotten
	b.mustRefuse(idempotent(9, 0, 44, 1), broker.ErrOutOfOrder)
}

func TestAfterTheHighestSequenceNumberComesZero(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	b.mustProduce(idempotent(1, 0, 0, 1), 0)
	b.mustProduce(idempotent(7, 0, math.MaxInt32-1, 3), 1) // ends with 0
	b.mustProduce(idempotent(7, 0, math.MaxInt32-1, 3), 1)
	b.mustProduce(idempotent(7, 0, 1, 1), 4)
	b.mustProduce(idempotent(8, 0, math.MaxInt32, 1), 5)
	b.mustProduce(idempotent(8, 0, 0, 1), 6)
}

func TestANewEpochBeginsAtZeroAndFencesTheOldOne(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	b.mustProduce(idempotent(7, 1, 0, 2), 0)
	b.mustRefuse(idempotent(7, 2, 2, 1), broker.ErrOutOfOrder)
	b.mustProduce(idempotent(7, 2, 0, 1), 2)
	b.mustRefuse(idempotent(7, 1, 2, 1), broker.ErrFenced)
	b.mustProduce(idempotent(7, 2, 1, 1), 3)
}

func TestAProducerNeedsAnEpochAndASequence(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	b.mustRefuse(idempotent(7, -1, 0, 1), batch.ErrCorrupt)
	b.mustRefuse(idempotent(7, 0, -1, 1), batch.ErrCorrupt)
}

func TestProducersAreKnownAfterARestart(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, setup{dir: dir})
	topic, err := first.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	b := &tryout{first, t, topic}
	for i := range int32(8) {
		b.mustProduce(idempotent(7, 3, i, 1), int64(i))
	}
	mustClose(t, first)
	b = newTryout(t, setup{dir: dir})
	for i := int32(3); i < 8; i++ {
		b.mustProduce(idempotent(7, 3, i, 1), int64(i))
	}
	b.mustRefuse(idempotent(7, 3, 9, 1), broker.ErrOutOfOrder)
	b.mustRefuse(idempotent(7, 2, 8, 1), broker.ErrFenced)
	b.mustProduce(idempotent(7, 3, 8, 1), 8)
}

func TestAProducerOfDelayedMessagesGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, setup{dir: dir})
	b := &tryout{first, t, mustMake(t, first, "orders")}
	later := time.Now().Add(time.Hour)
	b.mustProduce(batchtest.Idempotent(waiting(later, "first"), 7, 0, 0), 0)
	mustClose(t, first)
	b = newTryout(t, setup{dir: dir})
	b.mustProduce(batchtest.Idempotent(waiting(later, "second"), 7, 0, 1), 0)
	b.mustRefuse(batchtest.Idempotent(waiting(later, "fourth"), 7, 0, 3), broker.ErrOutOfOrder)
	b.mustProduce(idempotent(7, 0, 2, 1), 0)
}

// Of what waited the end of the log knows nothing, so the numbers may go on behind it. That
// holds for the first batch after a start, be it refused, and for none that goes back.
func TestAProducerOfWhichSomeMessagesWaitedGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, setup{dir: dir})
	b := &tryout{first, t, mustMake(t, first, "orders")}
	later := time.Now().Add(time.Hour)
	for producer := range int64(3) {
		b.mustProduce(idempotent(producer, 0, 0, 1), producer)
		b.mustProduce(batchtest.Idempotent(waiting(later, "second"), producer, 0, 1), 0)
	}
	mustClose(t, first)
	var full bool
	b = newTryout(t, setup{dir: dir, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, _ string, p []byte, done func(int64, error)) error {
			if full {
				return store.ErrFull
			}
			return store.Append(inner, p, done)
		}}
	}})
	b.mustProduce(idempotent(0, 0, 0, 1), 0) // sent again
	b.mustProduce(idempotent(0, 0, 2, 2), 3)
	b.mustRefuse(idempotent(0, 0, 5, 1), broker.ErrOutOfOrder)
	b.mustProduce(idempotent(0, 0, 4, 1), 5)
	b.mustRefuse(idempotent(1, 0, math.MaxInt32, 1), broker.ErrOutOfOrder)
	b.mustProduce(batchtest.Idempotent(waiting(later, "second"), 1, 0, 1), 0) // sent again, and taken for new
	b.mustRefuse(idempotent(1, 0, 3, 1), broker.ErrOutOfOrder)
	full = true
	b.mustRefuse(idempotent(2, 0, 2, 1), store.ErrFull)
	full = false
	b.mustRefuse(idempotent(2, 0, 3, 1), broker.ErrOutOfOrder)
}

func TestABatchSentAgainIsNotAcknowledgedBeforeItIsDurable(t *testing.T) {
	for name, failure := range map[string]error{"stored": nil, "lost": store.ErrFailed} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			b := newTryout(t, setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store {
				return &storefault.Store{Store: s, Append: func(inner store.Partition, _ string, p []byte, done func(int64, error)) error {
					return store.Append(inner, p, func(base int64, err error) {
						go func() {
							<-release
							done(base, errors.Join(err, failure))
						}()
					})
				}}
			}})
			var answers [2]error
			answered := make(chan int, 2)
			for i := range answers {
				p := idempotent(7, 0, 0, 1)
				if err := b.begin(b.topic, 0, p, func(base int64, err error) {
					answers[i] = err
					answered <- i
				}); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case i := <-answered:
				t.Fatalf("batch %d is acknowledged", i)
			default:
			}
			close(release)
			within(t, "both are answered", func() { <-answered; <-answered })
			for i, err := range answers {
				if !errors.Is(err, failure) {
					t.Errorf("batch %d: %v", i, err)
				}
			}
		})
	}
}

func TestABatchThatIsRefusedMayBeSentAgain(t *testing.T) {
	full := true
	b := newTryout(t, setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, _ string, p []byte, done func(int64, error)) error {
			if full {
				return store.ErrFull
			}
			return store.Append(inner, p, done)
		}}
	}})
	b.mustRefuse(idempotent(7, 0, 0, 1), store.ErrFull)
	full = false
	b.mustProduce(idempotent(7, 0, 0, 1), 0)
}

func TestABatchOfWhichAPartIsRefusedThatIsToWaitMayBeSentAgain(t *testing.T) {
	full := true
	b := newTryout(t, setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, topic string, p []byte, done func(int64, error)) error {
			if full && topic == broker.DelayedTopic {
				return store.ErrFull
			}
			return store.Append(inner, p, done)
		}}
	}})
	var both batch.Builder
	both.Add(1, nil, []byte("now"))
	both.Add(1, nil, []byte("later"), batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, time.Now().Add(time.Hour).UnixMilli(), 10)})
	both.Close(0)
	p := batchtest.Idempotent(both.Bytes(), 7, 0, 0)
	b.mustRefuse(p, store.ErrFull)
	full = false
	b.mustProduce(p, 0)
}

func TestProduceRefusesWhatCheckRefuses(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	p := idempotent(7, 0, 0, 1)
	p[len(p)-1]++
	b.mustRefuse(p, batch.ErrCorrupt)
}
