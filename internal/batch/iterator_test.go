package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

func TestVarintsOfEveryLengthAreReadAsTheyWereWritten(t *testing.T) {
	for shift := range 64 {
		for _, near := range []int64{-1, 0, 1} {
			for _, sign := range []int64{1, -1} {
				v := sign * (1<<shift + near)
				p := make([]byte, binary.MaxVarintLen64)
				n := putUvarint(p, 0, zigzag(v))
				if n != uvarintLen(zigzag(v)) || !bytes.Equal(p[:n], binary.AppendVarint(nil, v)) {
					t.Errorf("%d is written as %x", v, p[:n])
				}
				for _, tail := range []int{0, 1, 2, 20} { // short varints are read another way near the end
					q := append(bytes.Clone(p[:n]), make([]byte, tail)...)
					if got, next := varint64(q, 0); got != v || next != n {
						t.Errorf("%d before %d bytes: varint64 reads %d to %d", v, tail, got, next)
					}
					fits := v >= math.MinInt32 && v <= math.MaxInt32
					if got, next := varint32(q, 0); fits && (got != v || next != n) || !fits && next != past {
						t.Errorf("%d before %d bytes: varint32 reads %d to %d", v, tail, got, next)
					}
				}
				for cut := range n {
					if _, next := varint64(p[:cut], 0); next != past {
						t.Errorf("%d bytes of %d: varint64 reads to %d", cut, v, next)
					}
				}
			}
		}
	}
}

func TestTheFastPathReadsWhatTheSlowPathReads(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	lengths := []int{-3, -2, -1, -1, -1, 0, 1, 5, 63, 64, 8191, 8192}
	fast := 0
	for range 20000 {
		keyLen, valueLen := lengths[rnd.IntN(len(lengths))], lengths[rnd.IntN(len(lengths))]
		fields := []any{
			"\x00", int(rnd.Int64()) >> rnd.IntN(64), rnd.IntN(4000)>>rnd.IntN(12) - 1,
			keyLen, make([]byte, max(keyLen, 0)), valueLen, make([]byte, max(valueLen, 0)),
			rnd.IntN(10)/9 - rnd.IntN(20)/19, make([]byte, rnd.IntN(12)/11),
		}
		p := append(rec(fields...), make([]byte, rnd.IntN(3))...)
		if rnd.IntN(10) == 0 {
			p = p[:rnd.IntN(len(p))]
		}
		if samePath(t, p) {
			fast++
		}
	}
	if fast < 500 {
		t.Errorf("the fast path took %d records only", fast)
	}
}

// samePath reads p's first record both ways, and reports whether the fast path
// took it.
func samePath(t *testing.T, p []byte) bool {
	t.Helper()
	fast := Iterator{p: p, delta: -1, lastDelta: 2000, base: 7, baseTime: 1000}
	slow := fast
	if !fast.nextPlain() {
		if !reflect.DeepEqual(fast, slow) {
			t.Fatalf("%x: the fast path left traces", p)
		}
		return false
	}
	if !slow.next() {
		t.Fatalf("%x: the fast path reads a damaged record: %v", p, slow.err)
	}
	slow.rec.headers = nil // empty or nil, it is never looked at
	if !reflect.DeepEqual(fast, slow) {
		t.Fatalf("%x: the fast path reads\n%+v, not\n%+v", p, fast, slow)
	}
	return true
}

func TestLogAppendTimeStandsForEveryRecordsTime(t *testing.T) {
	b := fixed(batchOf(2, rec("\x00", 5, 0, -1, -1, 0), rec("\x00", 6, 1, -1, -1, 1, 1, "k", -1)), func(b Batch) {
		b[posAttributes+1] |= attrLogAppendTime
		binary.BigEndian.PutUint64(b[posMaxTime:], 12345)
	})
	var it Iterator
	if err := it.Reset(b); err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		if got := it.Record().Timestamp; got != 12345 {
			t.Errorf("record %d has the time %d", it.Record().Offset, got)
		}
	}
}

func TestOffsetsAndTimesThatOverflowWrap(t *testing.T) {
	b := batchOf(2, rec("\x00", 0, 0, -1, -1, 0), rec("\x00", 1, 1, -1, -1, 0))
	b = fixed(b, func(b Batch) {
		b.Stamp(math.MaxInt64, 0)
		binary.BigEndian.PutUint64(b[posBaseTime:], math.MaxInt64)
	})
	if b.NextOffset() != math.MinInt64+1 {
		t.Errorf("NextOffset is %d", b.NextOffset())
	}
	var it Iterator
	if err := b.Verify(&it); err != nil {
		t.Fatal(err)
	}
	if err := it.Reset(b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{math.MaxInt64, math.MinInt64} {
		if !it.Next() || it.Record().Offset != want || it.Record().Timestamp != want {
			t.Errorf("got %+v, want offset and time %d", it.Record(), want)
		}
	}
}

func TestACompactedBatchIsReadWithItsGaps(t *testing.T) {
	b := fixed(batchOf(3, plain(2), plain(5), plain(9)), putUint32(posLastDelta, 20))
	b.Stamp(100, 0)
	var it Iterator
	if err := it.Reset(b); err != nil {
		t.Fatal(err)
	}
	var got []int64
	for it.Next() {
		got = append(got, it.Record().Offset)
	}
	if it.Err() != nil || !reflect.DeepEqual(got, []int64{102, 105, 109}) {
		t.Errorf("offsets %d, %v", got, it.Err())
	}
}

func TestAnIteratorCanBeResetAfterAnError(t *testing.T) {
	var it Iterator
	if err := it.Reset(batchOf(1, []byte{2})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if it.Next() || !errors.Is(it.Err(), ErrCorrupt) {
			t.Errorf("a damaged record: Err is %v", it.Err())
		}
	}
	if err := batchOf(1, plain(0)).Verify(&it); err != nil {
		t.Errorf("a sound batch after it: %v", err)
	}
}

func TestHeadersCanBeLeftEarly(t *testing.T) {
	var b Builder
	b.Add(0, nil, nil, Header{"a", []byte("1")}, Header{"b", nil}, Header{"c", []byte{}})
	b.Close(0)
	var it Iterator
	if err := it.Reset(b.Bytes()); err != nil || !it.Next() {
		t.Fatal(err)
	}
	seen := 0
	for k, v := range it.Record().Headers() {
		seen++
		if string(k) == "b" {
			if v != nil {
				t.Errorf("a null value is %q", v)
			}
			break
		}
	}
	if seen != 2 || it.Record().HeaderCount() != 3 {
		t.Errorf("saw %d of %d headers", seen, it.Record().HeaderCount())
	}
}

func TestNothingIsAllocatedForARecord(t *testing.T) {
	var b Builder
	value := bytes.Repeat([]byte("x"), 100)
	fill := func() {
		b.Reset()
		for i := range 100 {
			b.Add(int64(i), nil, value)
			b.Add(int64(i), value, nil, Header{"k", value}, Header{"l", nil})
		}
		b.Close(0)
	}
	fill()
	p := Batch(bytes.Clone(b.Bytes()))
	var it Iterator
	var dst Builder
	copyAll := func() {
		dst.Reset()
		if err := Slice(&dst, &it, p, 0, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
	}
	copyAll()
	n := 0
	iterate := func() {
		if err := it.Reset(p); err != nil {
			t.Fatal(err)
		}
		for it.Next() {
			for k, v := range it.Record().Headers() {
				n += len(k) + len(v)
			}
		}
	}
	verify := func() {
		if err := p.Verify(&it); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]func(){"Builder.Add": fill, "iterating": iterate, "Verify": verify, "Slice": copyAll} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s allocates %v times in 200 records", name, got)
		}
	}
	for _, k := range codectest.Packings {
		p := compressed(t, p, k)
		allowed := 0.0
		switch k.Codec {
		case codec.Zstd:
			allowed = 10 // its tables come from a pool
		case codec.LZ4:
			allowed = 3 // its buffers do, and the race detector has a pool lose some
		}
		if k.Name == "lz4 linked blocks" {
			allowed = 10 // a reader for each: see codec
		}
		f := func() {
			if err := p.Verify(&it); err != nil {
				t.Fatal(err)
			}
		}
		f()
		if got := testing.AllocsPerRun(100, f); got > allowed {
			t.Errorf("Verify of %s allocates %v times", k.Name, got)
		}
	}
}
