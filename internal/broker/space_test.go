package broker_test

import (
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

// A fullDisk has no space for publishers while full is set.
type fullDisk struct {
	full    atomic.Bool
	refused atomic.Int64 // number of checks that failed
}

func (d *fullDisk) check(store.Store, int) error {
	if d.full.Load() {
		d.refused.Add(1)
		return store.ErrFull
	}
	return nil
}

func onFullDisk(t *testing.T, options broker.Options) (*bus, *fullDisk) {
	t.Helper()
	d := new(fullDisk)
	b := mustOpen(t, setup{dir: t.TempDir(), options: options, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Space: d.check}
	}})
	t.Cleanup(func() { mustClose(t, b) })
	return b, d
}

// delayed is a batch with one message that is due at that time.
func delayed(at time.Time) batch.Batch {
	var b batch.Builder
	b.Add(0, nil, []byte("later"), batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, at.UnixMilli(), 10)})
	b.Close(0)
	return b.Bytes()
}

func TestOnAFullDiskPublishersAreRefusedAndConsumersGoOn(t *testing.T) {
	b, disk := onFullDisk(t, broker.Options{})
	orders := mustMake(t, b, "orders")
	publish(t, orders.Partitions()[0], newYear, 10, 10)
	disk.full.Store(true)
	var now batch.Builder
	now.Add(0, nil, []byte("now"))
	now.Close(0)
	for name, p := range map[string]batch.Batch{"now": now.Bytes(), "later": delayed(time.Now().Add(time.Hour))} {
		err := begin(b, orders, 0, p, func(int64, error) { t.Errorf("%s was answered", name) })
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.MakeTopic("bills"); !errors.Is(err, store.ErrFull) {
		t.Errorf("a new topic: %v", err)
	}
	consume(t, position(t, b, "billing", "orders", 0), 0, 5) // makes the positions log's topic
	mustSync(t, b)
	if err := orders.Partitions()[0].Trim(5); err != nil {
		t.Errorf("trimming: %v", err)
	}
	if err := b.DeleteTopic("orders"); err != nil {
		t.Errorf("deleting: %v", err)
	}
	disk.full.Store(false)
	publish(t, mustMake(t, b, "orders").Partitions()[0], newYear, 1, 10)
}

func TestDueMessagesWaitUntilTheDiskHasSpace(t *testing.T) {
	brokertest.Slow(t)
	clock := &stoppedClock{at: time.Now()}
	b, disk := onFullDisk(t, broker.Options{Now: clock.now})
	orders := mustMake(t, b, "orders")
	accepted := make(chan error, 1)
	if err := begin(b, orders, 0, delayed(clock.at.Add(100*time.Millisecond)), func(_ int64, err error) { accepted <- err }); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	clock.run()
	await(t, "the message is due, finds no space, and is tried again", func() bool { return disk.refused.Load() > 1 })
	if _, high := orders.Partitions()[0].Offsets(); high != 0 {
		t.Fatal("a message was put into its topic without space for it")
	}
	disk.full.Store(false)
	await(t, "the message is delivered", func() bool {
		_, high := orders.Partitions()[0].Offsets()
		return high == 1
	})
}
