package line_test

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

// countReads has a bus count how often its logs are read.
func countReads(reads *atomic.Int64) setup {
	return setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Read: func(p store.Partition, _ string, offset int64, maxBytes int, c *store.Chunk) error {
			reads.Add(1)
			return p.Read(offset, maxBytes, c)
		}}
	}}
}

// take reads n messages of a follower and acknowledges each one.
func (c *client) take(n int) []string {
	c.t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = c.line()
		c.send("+" + strconv.Itoa(i+1) + "\n")
	}
	return all
}

// However large a batch is, and however few messages a consumer takes at a time: it is read
// a few times, and all its messages come, each once and in their order.
func TestALargeBatchIsNotReadForEachMessage(t *testing.T) {
	brokertest.Slow(t)
	const n = 2500
	messages := numbered(n, 400)
	for _, codec := range batchtest.Codecs {
		for _, options := range []string{"window=1", "window=7", "window=1&ordered", "window=300"} {
			t.Run(fmt.Sprint(codec, " ", options), func(t *testing.T) {
				var reads atomic.Int64
				b := start(t, countReads(&reads))
				b.publishBatch(batchtest.Compress(t, codec, newBatch(messages...)))
				c := b.dial(b.consumers, "orders?follow&ack&"+options+"\n")
				got := c.take(n)
				if strings.Join(got, "\n") != strings.Join(messages, "\n") {
					t.Error("other messages came, or in another order")
				}
				if reads := reads.Load(); reads > 10 {
					t.Errorf("the log was read %d times", reads)
				}
				c.finish().mustEnd("")
			})
		}
	}
}

func TestDrainsOfAFewAndWorkersShareWhatIsLeftOfALargeBatch(t *testing.T) {
	const n = 2000
	messages := numbered(n, 400)
	var reads atomic.Int64
	b := start(t, countReads(&reads))
	b.publishBatch(batchtest.Compress(t, codec.Zstd, newBatch(messages...)))
	var got strings.Builder
	for i := range n / 10 {
		if i%2 == 0 {
			got.WriteString(b.drain("orders?n=10"))
			continue
		}
		c := b.dial(b.consumers, "orders?ack&window=3&n=10\n")
		got.WriteString(strings.Join(c.take(10), "\n") + "\n")
		c.finish().mustEnd("")
	}
	mustBeOnce(t, messages, got.String())
	if reads := reads.Load(); reads > 10 {
		t.Errorf("the log was read %d times", reads)
	}
}

// A client that gets all of a batch gets it as it was stored, also if there are leftovers.
func TestWholeBatchesComeAsTheyAreStored(t *testing.T) {
	b := start(t, setup{})
	stored := batchtest.Compress(t, codec.Zstd, newBatch(numbered(1000, 100)...))
	b.publishBatch(stored)
	b.mustDrain("orders?group=few&n=1", numbered(1, 100)[0]+"\n")
	s := readStream(t, b.drain("orders?format=batch"))
	if len(s.batches) != 1 || len(s.batches[0]) != len(stored) || s.batches[0].Codec() != codec.Zstd {
		t.Errorf("%d batches, the first of %d bytes, %v", len(s.batches), len(s.batches[0]), s.batches[0].Codec())
	}
}

// Messages that were deleted meanwhile do not come from leftovers.
func TestWhatWasTrimmedDoesNotComeFromWhatIsLeft(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(1000, 100)
	b.publishBatch(batchtest.Compress(t, codec.Zstd, newBatch(messages...)))
	b.mustDrain("orders?n=2", join(messages[:2]))
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Partitions()[0].Trim(10); err != nil {
		t.Fatal(err)
	}
	b.mustDrain("orders?n=2", goneBelow(10)+"\n")
	b.mustDrain("orders?n=2", join(messages[10:12]))
}

// publishBatch publishes a batch to topic orders.
func (b *bus) publishBatch(p batch.Batch) {
	b.t.Helper()
	if got, want := b.produce("orders?format=batch\n"+text(p)), "+"+strconv.Itoa(p.Count())+"\n"; got != want {
		b.t.Fatalf("answered %q, not %q", got, want)
	}
}

// A reader that stalls again and again gives up what was expanded for it each time, so that
// others have their turn; it goes on with pieces, and needs no turn for each of them.
func TestAReaderThatStallsHasABatchExpandedAFewTimesOnly(t *testing.T) {
	brokertest.Slow(t)
	const n, stalls = 40_000, 8
	var reads atomic.Int64
	b := start(t, countReads(&reads))
	messages := numbered(n, 100)
	b.publishBatch(batchtest.Compress(t, codec.Zstd, newBatch(messages...)))
	before := reads.Load()
	c := b.dialWith(small, b.consumers, "orders?from=beginning\n")
	var got strings.Builder
	for range stalls {
		if _, err := io.CopyN(&got, c.r, 100<<10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * moment) // it is slow
	}
	if n := reads.Load() - before; n > 3 {
		t.Errorf("the log was read %d times for %d stalls", n, stalls)
	}
	got.WriteString(c.rest())
	if got.String() != join(messages) {
		t.Errorf("%s came", brief(got.String()))
	}
}
