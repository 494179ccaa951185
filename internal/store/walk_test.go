package store_test

import (
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// silent is a log that gives nothing, though it has records.
type silent struct {
	store.Partition
	high int64
}

func (s silent) Offsets() (start, high int64)            { return 0, s.high }
func (silent) Read(_ int64, _ int, _ *store.Chunk) error { return nil }

// What is rebuilt from a log, such as the positions of groups, would go back if a walk ended early.
func TestAWalkThatGetsNothingBelowTheHighWatermarkHasNotEnded(t *testing.T) {
	walk := func(offset int64) error {
		return store.Walk(silent{high: 7}, offset, func(err error) error { return err }, func(batch.Batch) (bool, error) { return true, nil })
	}
	for offset := range int64(7) {
		if err := walk(offset); err == nil || !strings.Contains(err.Error(), "below its high watermark 7") {
			t.Errorf("from offset %d: %v", offset, err)
		}
	}
	if err := walk(7); err != nil {
		t.Error(err)
	}
}
