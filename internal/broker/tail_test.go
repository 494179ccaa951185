package broker_test

import (
	"bytes"
	"errors"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// numberedBatch is one of an idempotent producer.
func numberedBatch(producer int64, sequence int32, size int) []byte {
	var b batch.Builder
	b.Add(1000, nil, bytes.Repeat([]byte("x"), size))
	b.CloseFor(0, batch.Producer{ID: producer, Sequence: sequence})
	return b.Bytes()
}

// With a limit the end of before this broker is read, however much it has written since; what it has written itself it knows.
func TestALimitedTailIsThatOfBeforeTheBroker(t *testing.T) {
	s := setup{dir: t.TempDir()}
	s.options.Limits = broker.DefaultLimits()
	s.options.Limits.MaxTail = 10 << 10
	b := mustOpen(t, s)
	log := mustMake(t, b, "orders").Partitions()[0]
	append := func(producer int64, sequence int32, size int) (int64, error) {
		done := make(chan error, 1)
		var at int64
		err := log.Append(numberedBatch(producer, sequence, size), broker.AppendOptions{}, func(base int64, err error) {
			at = base
			done <- err
		})
		if err == nil {
			err = <-done
		}
		return at, err
	}
	must := func(want int64, producer int64, sequence int32, size int) {
		t.Helper()
		if at, err := append(producer, sequence, size); at != want || err != nil {
			t.Fatalf("producer %d, %d: at %d, not %d, %v", producer, sequence, at, want, err)
		}
	}
	must(0, 1, 0, 100)
	must(1, 2, 0, 900<<10)
	must(2, 3, 0, 100)
	mustClose(t, b)
	b = mustOpen(t, s)
	found, err := b.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	log = found.Partitions()[0]
	for range 10 { // more than the limit, of no producer
		var plain batch.Builder
		plain.Add(1000, nil, bytes.Repeat([]byte("y"), 5<<10))
		plain.Close(0)
		if _, err := log.AppendAndWait(plain.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	must(2, 3, 0, 100) // it is known
	must(13, 3, 1, 100)
	must(13, 3, 1, 100)
	if _, err := append(3, 7, 100); !errors.Is(err, broker.ErrOutOfOrder) {
		t.Errorf("a gap is %v", err)
	}
	mustClose(t, b)
}
