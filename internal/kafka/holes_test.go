package kafka_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// Kafka clients get control batches, and batches in which offsets are missing, as they are
// stored: they know what these are.
func TestFetchGivesControlBatchesAndBatchesWithHoles(t *testing.T) {
	var inner store.Store
	b := start(t, setup{wrap: func(s store.Store) store.Store { inner = s; return s }})
	b.topic("orders", 1)
	log, err := inner.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	var stored []byte
	for _, one := range []batch.Batch{batchtest.Control(1), batchtest.Empty(5), batchtest.Sparse(4, batchtest.Record{Delta: 2, Value: []byte("m")})} {
		if _, err := store.AppendAndWait(log, one); err != nil {
			t.Fatal(err)
		}
		stored = slices.Concat(stored, one)
	}
	p := fetched(ask[*kmsg.FetchResponse](b.dial(), fetchRequest(newestFetch, read{"orders", 0, 0})))
	if p.ErrorCode != 0 || p.HighWatermark != 10 || !bytes.Equal(p.RecordBatches, stored) {
		t.Errorf("error %d, up to %d, %d bytes, not %d", p.ErrorCode, p.HighWatermark, len(p.RecordBatches), len(stored))
	}
}
