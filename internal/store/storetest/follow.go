package storetest

import (
	"fmt"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// follows checks that the batches of a chunk go on at offset, each where the one
// before ends, and are those the chunk says. The first chunk of a reader may
// begin before offset, in whose batch it starts.
func follows(list []batchtest.Stored, c *store.Chunk, offset int64, first bool) error {
	if len(list) == 0 {
		return fmt.Errorf("nothing was read at %d", offset)
	}
	if b := list[0]; b.Base > offset || b.Next <= offset || (!first && b.Base != offset) {
		return fmt.Errorf("read at %d begins with the batch of %d to %d", offset, b.Base, b.Next)
	}
	for i, b := range list {
		if i > 0 && b.Base != list[i-1].Next {
			return fmt.Errorf("a batch ends at %d and the one behind it begins at %d", list[i-1].Next, b.Base)
		}
		if err := batch.Batch(b.Bytes).Verify(new(batch.Iterator)); err != nil {
			return fmt.Errorf("batch at %d: %w", b.Base, err)
		}
	}
	if end := list[len(list)-1].Next; c.First != list[0].Base || c.Next != end {
		return fmt.Errorf("a chunk says %d to %d and has %d to %d", c.First, c.Next, list[0].Base, end)
	}
	return nil
}
