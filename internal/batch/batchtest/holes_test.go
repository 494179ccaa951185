package batchtest_test

import (
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
)

func TestBatchesWithHolesAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		batch  batch.Batch
		span   int64
		deltas []int64
	}{
		"sparse":  {batchtest.Sparse(9, batchtest.Record{Delta: 2, Key: []byte("k"), Value: []byte("v")}, batchtest.Record{Delta: 5}), 9, []int64{2, 5}},
		"empty":   {batchtest.Empty(7), 7, nil},
		"control": {batchtest.Control(2), 2, []int64{0, 1}},
	} {
		c.batch.Stamp(100, 3)
		if err := c.batch.CheckCRC(); err != nil || c.batch.NextOffset() != 100+c.span || c.batch.Count() != len(c.deltas) || c.batch.IsControl() != (name == "control") {
			t.Errorf("%s: up to %d, %d records: %v", name, c.batch.NextOffset(), c.batch.Count(), err)
		}
		var it batch.Iterator
		if err := it.Reset(c.batch); err != nil {
			t.Fatal(err)
		}
		for _, d := range c.deltas {
			if !it.Next() || it.Record().Offset != 100+d {
				t.Errorf("%s: offset %d, not %d", name, it.Record().Offset, 100+d)
			}
		}
		if it.Next() || it.Err() != nil {
			t.Errorf("%s ends with %v", name, it.Err())
		}
	}
}
