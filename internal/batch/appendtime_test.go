package batch_test

import (
	"fmt"
	"testing"

	"mbus/internal/batch"
)

func TestAppendTimeStandsForTheTimesOfAllRecords(t *testing.T) {
	var b batch.Builder
	for i := range 3 {
		b.Add(1000+int64(i), nil, fmt.Append(nil, i))
	}
	b.Close(7)
	p := batch.Batch(b.Bytes())
	p.SetAppendTime(500) // earlier than the records' own
	var it batch.Iterator
	if err := p.Verify(&it); err != nil {
		t.Fatal(err)
	}
	if !p.LogAppendTime() || p.MaxTimestamp() != 500 || p.BaseTimestamp() != 1000 || p.BaseOffset() != 7 {
		t.Errorf("append time %v, times %d and %d, offset %d", p.LogAppendTime(), p.BaseTimestamp(), p.MaxTimestamp(), p.BaseOffset())
	}
	if err := it.Reset(p); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; it.Next(); n++ {
		if r := it.Record(); r.Timestamp != 500 || string(r.Value) != fmt.Sprint(n) {
			t.Errorf("record %d is %s, at %d", n, r.Value, r.Timestamp)
		}
	}
	if n != 3 || it.Err() != nil {
		t.Errorf("%d records, %v", n, it.Err())
	}
}
