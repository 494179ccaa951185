package batch_test

import (
	"encoding/binary"
	"testing"

	"mbus/internal/batch"
)

func TestALatestTimeThatIsLeftOutIsThatOfTheRecords(t *testing.T) {
	var builder batch.Builder
	builder.Add(2000, nil, []byte("first"))
	builder.Add(5000, nil, []byte("latest"))
	builder.Add(3000, nil, []byte("last"))
	builder.Close(0)
	b := batch.Batch(builder.Bytes())
	const posMaxTime = 35
	binary.BigEndian.PutUint64(b[posMaxTime:], 1<<64-1) // -1
	var it batch.Iterator
	if err := b.MendMaxTimestamp(&it); err != nil {
		t.Fatal(err)
	}
	if b.MaxTimestamp() != 5000 {
		t.Errorf("the latest time is %d", b.MaxTimestamp())
	}
	if err := b.Verify(&it); err != nil {
		t.Error(err)
	}
}
