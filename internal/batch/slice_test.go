package batch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/codec"
)

// from100 is a batch of n messages with offsets from 100, and leader epoch 3.
func from100(n int) (batch.Batch, []message) {
	all := messages(n)
	var b batch.Builder
	build(&b, all)
	b.Close(0)
	batch.Batch(b.Bytes()).Stamp(100, 3)
	for i := range all {
		all[i].offset += 100
	}
	return b.Bytes(), all
}

// within are the messages with offsets from from to to.
func within(all []message, from, to int64) []message {
	var some []message
	for _, m := range all {
		if m.offset >= from && m.offset < to {
			some = append(some, m)
		}
	}
	return some
}

func TestSliceKeepsTheRecordsInItsRange(t *testing.T) {
	plain, all := from100(200)
	rnd := rand.New(rand.NewPCG(1, 2))
	var dst batch.Builder
	var it batch.Iterator
	for c := range codecs {
		b := plain
		if c != codec.None {
			b = recompress(t, plain, c)
		}
		for range 100 {
			from, to := 90+rnd.Int64N(220), 90+rnd.Int64N(220)
			want := within(all, from, to)
			dst.Reset()
			if err := batch.Slice(&dst, &it, b, from, to); err != nil {
				t.Fatal(err)
			}
			got := batch.Batch(dst.Bytes())
			if len(want) == 0 {
				if len(got) > 0 {
					t.Fatalf("%v, offsets %d to %d: %d bytes for no record", c, from, to, len(got))
				}
				continue
			}
			compare(t, read(t, got), want)
			if got.BaseOffset() != want[0].offset || got.LeaderEpoch() != 3 || got.Codec() != codec.None {
				t.Fatalf("%v, offsets %d to %d: base offset %d, leader epoch %d, codec %v",
					c, from, to, got.BaseOffset(), got.LeaderEpoch(), got.Codec())
			}
		}
	}
}

func TestSliceAppendsAfterFinishedBatches(t *testing.T) {
	b, all := from100(10)
	var dst batch.Builder
	var it batch.Iterator
	for _, from := range []int64{100, 103, 105} {
		if err := batch.Slice(&dst, &it, b, from, from+2); err != nil {
			t.Fatal(err)
		}
	}
	want := append(within(all, 100, 102), within(all, 103, 107)...)
	compare(t, read(t, dst.Bytes()), want)
}

func TestSliceGivesLogAppendTimesAsTheRecordsOwn(t *testing.T) {
	b, all := from100(5)
	b[22] |= 8
	binary.BigEndian.PutUint64(b[35:], 777)
	for i := range all {
		all[i].timestamp = 777
	}
	var dst batch.Builder
	var it batch.Iterator
	if err := batch.Slice(&dst, &it, b, 101, 104); err != nil {
		t.Fatal(err)
	}
	compare(t, read(t, dst.Bytes()), within(all, 101, 104))
	if got := batch.Batch(dst.Bytes()); got.LogAppendTime() || got.MaxTimestamp() != 777 {
		t.Errorf("log append time %v, latest time %d", got.LogAppendTime(), got.MaxTimestamp())
	}
}

// compacted takes a batch's records at the given positions and leaves the rest
// out, as compaction does.
func compacted(b batch.Batch, all []message, keep ...int) (batch.Batch, []message) {
	var some []message
	var records []byte
	for _, i := range keep {
		some = append(some, all[i])
		m := all[i]
		var p []byte
		p = binary.AppendVarint(append(p, 0), m.timestamp-b.BaseTimestamp())
		p = binary.AppendVarint(p, int64(i))
		p = appendField(appendField(p, m.key), m.value)
		p = binary.AppendVarint(p, 0)
		records = append(binary.AppendVarint(records, int64(len(p))), p...)
		some[len(some)-1].headers = nil
	}
	out := append(bytes.Clone(b[:batch.HeaderSize]), records...)
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-12))
	binary.BigEndian.PutUint32(out[57:], uint32(len(keep)))
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out, some
}

func appendField(p, b []byte) []byte {
	if b == nil {
		return append(p, 1)
	}
	return append(binary.AppendVarint(p, int64(len(b))), b...)
}

func TestSliceKeepsTheOffsetsOfACompactedBatch(t *testing.T) {
	b, all := from100(20)
	b, all = compacted(b, all, 2, 3, 7, 8, 15)
	var it batch.Iterator
	for from := int64(99); from < 122; from++ {
		for to := from; to < 122; to++ {
			var dst batch.Builder
			if err := batch.Slice(&dst, &it, b, from, to); err != nil {
				t.Fatal(err)
			}
			want := within(all, from, to)
			if len(want) == 0 {
				if len(dst.Bytes()) > 0 {
					t.Fatalf("offsets %d to %d: %d bytes for no record", from, to, len(dst.Bytes()))
				}
				continue
			}
			got := batch.Batch(dst.Bytes())
			compare(t, readBatch(t, &it, got), want)
			if err := got.CheckCRC(); err != nil || got.LastOffset() != want[len(want)-1].offset || got.Count() != len(want) {
				t.Fatalf("offsets %d to %d: last offset %d, count %d, %v", from, to, got.LastOffset(), got.Count(), err)
			}
			compare(t, consume(t, got), want)
		}
	}
}

func TestSliceOfADamagedBatchLeavesTheBuilderAsItWas(t *testing.T) {
	b, _ := from100(10)
	var dst batch.Builder
	var it batch.Iterator
	if err := batch.Slice(&dst, &it, b, 100, 102); err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(dst.Bytes())
	cut := bytes.Clone(b[:len(b)-3])
	if err := batch.Slice(&dst, &it, cut, 103, math.MaxInt64); !errors.Is(err, batch.ErrCorrupt) {
		t.Errorf("records cut off: %v", err)
	}
	b[22] |= 1
	if err := batch.Slice(&dst, &it, b, 103, math.MaxInt64); !errors.Is(err, batch.ErrCorrupt) {
		t.Errorf("not gzip: %v", err)
	}
	if !bytes.Equal(dst.Bytes(), before) || dst.Count() != 0 || dst.OpenSize() != 0 {
		t.Errorf("the builder has %d bytes, %d records, %d open; before it had %d bytes",
			len(dst.Bytes()), dst.Count(), dst.OpenSize(), len(before))
	}
}

func TestAddRecordCopiesARecordWithItsHeaders(t *testing.T) {
	b, all := from100(50)
	var dst batch.Builder
	var it batch.Iterator
	if err := it.Reset(b); err != nil {
		t.Fatal(err)
	}
	var want []message
	for i := 0; it.Next(); i++ {
		if i%3 == 0 {
			dst.AddRecord(it.Record())
			all[i].offset = 7 + int64(len(want))
			want = append(want, all[i])
		}
	}
	dst.Close(7)
	compare(t, read(t, dst.Bytes()), want)
}

func TestTheBuilderSaysHowMuchIsOpenAndNamesNoProducer(t *testing.T) {
	var b batch.Builder
	if b.Count() != 0 || b.OpenSize() != 0 {
		t.Errorf("nothing open: %d records, %d bytes", b.Count(), b.OpenSize())
	}
	b.Close(0)
	if len(b.Bytes()) != 0 {
		t.Errorf("closing nothing makes %d bytes", len(b.Bytes()))
	}
	b.Add(0, []byte("key"), []byte("value"))
	size := b.OpenSize()
	if b.Count() != 1 || size != len(b.Bytes()) || size > batch.HeaderSize+batch.RecordOverhead+8 {
		t.Errorf("one record: %d records, %d bytes open of %d", b.Count(), size, len(b.Bytes()))
	}
	b.Close(0)
	if p := batch.Batch(b.Bytes()); p.ProducerID() != batch.NoProducer || p.ProducerEpoch() != batch.NoProducer ||
		p.BaseSequence() != batch.NoProducer || p.Attributes() != 0 {
		t.Errorf("producer %d, epoch %d, sequence %d, attributes %x", p.ProducerID(), p.ProducerEpoch(), p.BaseSequence(), p.Attributes())
	}
	b.Add(0, []byte("key"), []byte("value"))
	if b.Count() != 1 || b.OpenSize() != size {
		t.Errorf("the second batch: %d records, %d bytes", b.Count(), b.OpenSize())
	}
	b.Reset()
	if b.Count() != 0 || b.OpenSize() != 0 || len(b.Bytes()) != 0 || b.Cap() < 2*size {
		t.Errorf("after Reset: %d records, %d bytes open of %d, buffer of %d", b.Count(), b.OpenSize(), len(b.Bytes()), b.Cap())
	}
}

func TestNoRecordTakesMoreThanItsOverhead(t *testing.T) {
	for _, size := range []int{0, 1, 63, 64, 1 << 13, 1 << 20, 1 << 27} {
		var b batch.Builder
		b.Add(0, nil, nil)
		before := b.OpenSize()
		value := make([]byte, size)
		b.Add(math.MinInt64, nil, value)
		if got := b.OpenSize() - before - size; got > batch.RecordOverhead {
			t.Errorf("%d bytes take %d more", size, got)
		}
	}
}
