package broker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
)

// deliverSoon has n messages delivered after a moment, one after the other.
func deliverSoon(t *testing.T, topic *broker.Topic, n int) {
	t.Helper()
	p := topic.Partitions()[0]
	_, first := p.Offsets()
	for i := range n {
		if _, err := p.AppendAndWait(waiting(time.Now().Add(20*time.Millisecond), fmt.Sprint("message ", first+int64(i)))); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "they are delivered", func() bool {
		_, end := p.Offsets()
		return end == first+int64(n)
	})
}

// A copy of the data directory has each file as it was at another moment: that of the
// topic may be older than that of the delayed messages.
func TestDelayedMessagesThatAreNotInTheCopyOfTheirTopicComeAgain(t *testing.T) {
	const messages = 10
	for name, older := range map[string][]string{
		"the whole topic is older": {"topics/orders"},
		"its segment is older":     {"topics/orders/0/00000000000000000000.log"},
		"nothing is older":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir, earlier := t.TempDir(), t.TempDir()
			b := mustOpen(t, setup{dir: dir})
			topic := mustMake(t, b, "orders")
			deliverSoon(t, topic, 1)
			if err := os.CopyFS(filepath.Join(earlier, "topics/orders"), os.DirFS(filepath.Join(dir, "topics/orders"))); err != nil {
				t.Fatal(err)
			}
			deliverSoon(t, topic, messages)
			mustClose(t, b)
			for _, path := range older {
				replaceBy(t, filepath.Join(dir, path), filepath.Join(earlier, path))
			}
			for range 2 { // starts: it is done once
				book, log := newLog()
				b = mustOpen(t, setup{dir: dir, options: broker.Options{Log: log}})
				await(t, "all have come", func() bool { return len(valuesOf(t, b, "orders")) == messages+1 })
				if told := len(book.Lines("delivered again")); told != 0 && older == nil || told > 1 {
					t.Errorf("it is logged %d times: %q", told, book.Lines())
				}
				mustClose(t, b)
			}
		})
	}
}

// replaceBy puts another file, or directory, in the place of one.
func replaceBy(t *testing.T, path, other string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
}

// valuesOf is what can be read of a topic.
func valuesOf(t *testing.T, b *bus, name string) map[string]bool {
	t.Helper()
	topic, err := b.Topic(name)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]bool)
	p := topic.Partitions()[0]
	offset, end := p.Offsets()
	var c store.Chunk
	defer c.Release()
	for offset < end {
		var rest []byte
		err := p.Fetch(offset, 1<<20, &c)
		if err == nil {
			rest, err = c.Load(nil)
		}
		var gap *store.GapError
		var damage *store.DamageError
		switch {
		case errors.As(err, &gap):
			offset = gap.Next
		case errors.As(err, &damage):
			offset = damage.Next
		case err != nil:
			t.Fatal(err)
		}
		for len(rest) > 0 {
			var bt batch.Batch
			if bt, rest, err = batch.Next(rest); err != nil {
				t.Fatal(err)
			}
			var it batch.Iterator
			if err := it.Reset(bt); err != nil {
				t.Fatal(err)
			}
			for it.Next() {
				values[string(it.Record().Value)] = true
			}
			offset = bt.NextOffset()
		}
	}
	return values
}

// canRead says whether the log of delayed messages still has an offset.
func canRead(t *testing.T, b *bus, offset int64) bool {
	t.Helper()
	topic, err := b.Topic(broker.DelayedTopic)
	if err != nil {
		t.Fatal(err)
	}
	err = broker.WithRecord(topic.Partitions()[0], offset, func(*batch.Record) error { return nil })
	if err != nil && !errors.Is(err, store.ErrOutOfRange) {
		t.Fatal(err)
	}
	return err == nil
}

// What was delivered is kept for a while, but not more of it than the log may hold.
func TestWhatHasBeenDeliveredIsKeptForAWhileUnlessItIsMuch(t *testing.T) {
	for _, much := range []bool{false, true} {
		limits := broker.DefaultLimits()
		if much {
			limits.CompactDelayed = 100
		}
		b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Limits: limits}})
		topic := mustMake(t, b, "orders")
		for range 3 {
			deliverSoon(t, topic, 1)
		}
		if much {
			await(t, "the log is trimmed", func() bool { return !canRead(t, b, 2) })
		} else {
			await(t, "the log seems to be trimmed", func() bool {
				start, _ := delayedOffsets(t, b)
				return start > 2
			})
			if !canRead(t, b, 0) {
				t.Error("what was delivered is not kept")
			}
		}
		mustClose(t, b)
	}
}
