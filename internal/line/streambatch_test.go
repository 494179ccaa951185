package line_test

import (
	"slices"
	"strconv"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store/storetest"
)

func TestBatchesOfAStreamHaveItsNumbersForOthers(t *testing.T) {
	b := start(t, setup{})
	one := newBatch("a", "b", "c")
	b.produceTo("orders?producer=12345&first=11&new", "+12", "x", "y")
	c := b.dial(b.producers, "orders?format=batch&producer=12345&first=12\n"+text(one, newBatch("d")))
	c.mustSayLast("+15")
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	p := topic.Partitions()[0]
	batches, err := storetest.ReadWith(p.Offsets, p.Fetch, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got []batch.Producer
	for _, stored := range batches {
		p := batch.Batch(stored.Bytes)
		if err := p.CheckCRC(); err != nil {
			t.Error(err)
		}
		got = append(got, p.Producer())
	}
	want := []batch.Producer{{ID: 12345, Sequence: 10}, {ID: 12345, Sequence: 12}, {ID: 12345, Sequence: 14}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	b.mustDrain("orders", "x\ny\nb\nc\nd\n")
}

// A batch that is stored in part is taken apart, compressed or not.
func TestABatchThatIsStoredInPartIsCompleted(t *testing.T) {
	for _, codec := range batchtest.Codecs {
		for _, delay := range []string{"", "&delay=1h"} {
			b := start(t, setup{partitions: 2})
			request := "orders?format=batch&producer=9" + delay
			send := func(first, want string, batches ...batch.Batch) {
				t.Helper()
				c := b.dial(b.producers, request+"&first="+first+"\n"+text(batches...))
				c.mustSayLast(want)
				c.finish().rest()
			}
			send("1", "+4", batchtest.Compress(t, codec, newBatch("1", "2", "3")), batchtest.Compress(t, codec, newBatch("4")))
			send("2", "+5", batchtest.Compress(t, codec, newBatch("2", "3", "4", "5")))
			b.restart()
			send("1", "+7", batchtest.Compress(t, codec, newBatch("1")), batchtest.Compress(t, codec, newBatch("2", "3", "4", "5", "6")), newBatch("7"))
			times := b.inTopic("orders")
			for n := 1; n <= 7; n++ {
				if got := times[strconv.Itoa(n)]; got != 1 {
					t.Errorf("%v%s: message %d is stored %d times", codec, delay, n, got)
				}
			}
		}
	}
}
