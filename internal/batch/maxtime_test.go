package batch_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"mbus/internal/batch"
)

const posMaxTime = 35

// claim is a batch with records of these times whose header says that the latest is
// another.
func claim(latest int64, times ...int64) batch.Batch {
	var builder batch.Builder
	for _, ms := range times {
		builder.Add(ms, nil, []byte("x"))
	}
	builder.Close(0)
	b := batch.Batch(builder.Bytes())
	b.SetMaxTimestamp(latest)
	return b
}

// However a header claims another one: the latest time is that of the records.
func TestTheLatestTimeIsThatOfTheRecords(t *testing.T) {
	for _, claimed := range []int64{-1, 0, 2000, 3000, 4999, 5000, 5001, math.MaxInt64, math.MinInt64} {
		b := claim(claimed, 2000, 5000, 3000)
		if b.MaxTimestamp() != claimed {
			t.Fatalf("the header says %d", b.MaxTimestamp())
		}
		var it batch.Iterator
		if err := b.Verify(&it); err != nil {
			t.Fatal(err)
		}
		earliest, latest := it.Times()
		if earliest != 2000 || latest != 5000 {
			t.Errorf("claimed %d: the times are %d to %d", claimed, earliest, latest)
		}
		b.SetMaxTimestamp(latest)
		if err := b.Verify(&it); err != nil || b.MaxTimestamp() != 5000 {
			t.Errorf("claimed %d: the header says %d then, %v", claimed, b.MaxTimestamp(), err)
		}
	}
}

func TestTimesLeaveOutRecordsWithoutOne(t *testing.T) {
	for _, c := range []struct{ times, want []int64 }{
		{[]int64{-1}, []int64{-1, -1}},
		{[]int64{-1, 7, 5}, []int64{5, 7}},
		{[]int64{-5, -1}, []int64{-5, -1}},
	} {
		var it batch.Iterator
		if err := claim(0, c.times...).Verify(&it); err != nil {
			t.Fatal(err)
		}
		if earliest, latest := it.Times(); earliest != c.want[0] || latest != c.want[1] {
			t.Errorf("%d: %d to %d", c.times, earliest, latest)
		}
	}
}

func TestTheLatestTimeOfALogIsNotThatOfTheRecords(t *testing.T) {
	b := claim(5000, 2000, 5000)
	b.SetAppendTime(7000)
	before := bytes.Clone(b)
	var it batch.Iterator
	if err := b.Verify(&it); err != nil {
		t.Fatal(err)
	}
	if earliest, latest := it.Times(); earliest != 7000 || latest != 7000 {
		t.Errorf("the times are %d to %d", earliest, latest)
	}
	if b.SetMaxTimestamp(5000); !bytes.Equal(b, before) {
		t.Errorf("it is %d now", binary.BigEndian.Uint64(b[posMaxTime:]))
	}
}
