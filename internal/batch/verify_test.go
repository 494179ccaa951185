package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

// rec is a record of the given fields: numbers are varints, []byte and string
// stand as they are. Its length is that of the fields.
func rec(fields ...any) []byte {
	var p []byte
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			p = binary.AppendVarint(p, int64(f))
		case string:
			p = append(p, f...)
		case []byte:
			p = append(p, f...)
		}
	}
	return append(binary.AppendVarint(nil, int64(len(p))), p...)
}

// plain is a sound record with the given offset delta.
func plain(delta int) []byte { return rec("\x00", 0, delta, 3, "key", 5, "value", 0) }

// batchOf is a batch that claims count records, which are the bytes given.
func batchOf(count int, records ...[]byte) Batch {
	b := append(make(Batch, HeaderSize), bytes.Join(records, nil)...)
	b[posMagic] = magic
	binary.BigEndian.PutUint32(b[posLastDelta:], uint32(count-1))
	binary.BigEndian.PutUint32(b[posCount:], uint32(count))
	return fixed(b, func(Batch) {})
}

func putUint32(pos int, v uint32) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint32(b[pos:], v) }
}

func TestVerifyAcceptsASoundBatch(t *testing.T) {
	var it Iterator
	for name, b := range map[string]Batch{
		"one":                  batchOf(1, plain(0)),
		"three":                batchOf(3, plain(0), plain(1), plain(2)),
		"null key and value":   batchOf(1, rec("\x00", 0, 0, -1, -1, 0)),
		"empty key and value":  batchOf(1, rec("\x00", 0, 0, 0, 0, 0)),
		"headers":              batchOf(1, rec("\x00", 0, 0, -1, -1, 2, 1, "k", -1, 0, 1, "v")),
		"furthest times":       batchOf(2, rec("\x00", math.MaxInt64, 0, -1, -1, 0), rec("\x00", math.MinInt64, 1, -1, -1, 0)),
		"attributes of record": batchOf(1, rec("\xff", 0, 0, -1, -1, 0)),
		"length in five bytes": batchOf(1, []byte("\x8c\x80\x80\x80\x00"+"\x00\x00\x00\x01\x01\x00")),
		"transactional":        fixed(batchOf(1, plain(0)), func(b Batch) { b[posAttributes+1] |= 0x10 }),
		"log append time":      fixed(batchOf(1, plain(0)), func(b Batch) { b[posAttributes+1] |= attrLogAppendTime }),
	} {
		if err := b.Verify(&it); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A refusal is a batch that Verify does not take, and what it says.
type refusal struct {
	name string
	b    Batch
	want string
}

func testRefusals(t *testing.T, cases []refusal) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var it Iterator
			err := c.b.Verify(&it)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an ErrCorrupt that says %q", err, c.want)
			}
		})
	}
}

func TestVerifyRefusesHeadersThatAreWrong(t *testing.T) {
	sound := func(change func(Batch)) Batch { return fixed(batchOf(2, plain(0), plain(1)), change) }
	testRefusals(t, []refusal{
		{"nothing", nil, "less than a header"},
		{"less than a header", sound(func(Batch) {})[:HeaderSize-1], "less than a header"},
		{"magic 1", sound(func(b Batch) { b[posMagic] = 1 }), "magic is 1"},
		{"magic 3", sound(func(b Batch) { b[posMagic] = 3 }), "magic is 3"},
		{"a length that is too small", change(sound(nothing), putUint32(posLength, HeaderSize-lengthEnd-1)), "size is 60 bytes"},
		{"a negative length", change(sound(nothing), putUint32(posLength, 1<<31)), "size is -"},
		{"a length beyond the end", change(sound(nothing), putUint32(posLength, 1000)), "size is 1012 bytes"},
		{"the largest length", change(sound(nothing), putUint32(posLength, math.MaxInt32)), "size is 2147483659 bytes"},
		{"bytes after the batch", append(sound(nothing), 0), "the header says"},
		{"a wrong CRC", change(sound(nothing), func(b Batch) { b[posCRC]++ }), "CRC-32C"},
		{"a control batch", sound(func(b Batch) { b[posAttributes+1] |= attrControl }), "control"},
		{"codec 5", sound(func(b Batch) { b[posAttributes+1] |= 5 }), "codec 5"},
		{"codec 7", sound(func(b Batch) { b[posAttributes+1] |= 7 }), "codec 7"},
		{"codec gzip without gzip", sound(func(b Batch) { b[posAttributes+1] |= 1 }), "gzip"},
		{"no records", batchOf(0), "count is 0"},
		{"a negative count", batchOf(-1), "count is -1"},
		{"the last offset delta too small", sound(putUint32(posLastDelta, 0)), "last offset delta is 0 with 2"},
		{"the last offset delta too large", sound(putUint32(posLastDelta, 2)), "last offset delta is 2 with 2"},
		{"a negative last offset delta", sound(putUint32(posLastDelta, math.MaxUint32)), "last offset delta is -1"},
	})
}

func TestVerifyRefusesRecordsThatAreWrong(t *testing.T) {
	testRefusals(t, []refusal{
		{"fewer records than the count", batchOf(3, plain(0), plain(1)), "length is wrong"},
		{"more records than the count", batchOf(1, plain(0), plain(1)), "after the last record"},
		{"a byte after the records", batchOf(1, plain(0), []byte{0}), "1 bytes after the last record"},
		{"the largest count", batchOf(math.MaxInt32, plain(0)), "length is wrong"},
		{"offset deltas with a gap", batchOf(2, plain(0), plain(2)), "offset delta 2 after 0"},
		{"offset deltas that repeat", batchOf(2, plain(0), plain(0)), "offset delta 0 after 0"},
		{"offset deltas that repeat and go on", batchOf(3, plain(0), plain(0), plain(1)), "offset delta 0 after 0"},
		{"offset deltas that go far and come back", batchOf(3, plain(0), plain(3), plain(1)), "offset delta 3 after 0, the last being 2"},
		{"offset deltas that go back", batchOf(3, plain(0), plain(1), plain(0)), "offset delta 0 after 1"},
		{"offset deltas from 1", batchOf(2, plain(1), plain(2)), "offset delta 2 after 1"},
		{"a negative offset delta", batchOf(1, plain(-1)), "offset delta -1"},
		{"an offset delta of 2^31", batchOf(1, plain(math.MaxInt32+1)), "do not fit"},
		{"a record of no bytes", batchOf(1, []byte{0}), "do not fit"},
		{"a record of length -1", batchOf(1, []byte{1}), "length is wrong"},
		{"a record beyond the end", batchOf(1, []byte{2}), "length is wrong"},
		{"a record's length of six bytes", batchOf(1, []byte("\x8c\x80\x80\x80\x80\x00"+"\x00\x00\x00\x01\x01\x00")), "length is wrong"},
		{"a record's length without end", batchOf(1, []byte{0x80}), "length is wrong"},
		{"a record of attributes only", batchOf(1, rec("\x00")), "do not fit"},
		{"a time delta of eleven bytes", batchOf(1, rec("\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0, -1, -1, 0)), "do not fit"},
		{"a time delta of 65 bits", batchOf(1, rec("\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 0, -1, -1, 0)), "do not fit"},
		{"a key of length -2", batchOf(1, rec("\x00", 0, 0, -2, -1, 0)), "do not fit"},
		{"a key of length -3", batchOf(1, rec("\x00", 0, 0, -3, -1, 0, "abcd")), "do not fit"},
		{"a key beyond the record", batchOf(1, rec("\x00", 0, 0, 4, "abc")), "do not fit"},
		{"a key of 2 GiB", batchOf(1, rec("\x00", 0, 0, math.MaxInt32, "abc")), "do not fit"},
		{"a value of length -2", batchOf(1, rec("\x00", 0, 0, -1, -2, 0)), "do not fit"},
		{"a value beyond the record", batchOf(2, rec("\x00", 0, 0, -1, 4, "abc"), plain(1)), "do not fit"},
		{"a value that takes the next record's bytes", batchOf(2, rec("\x00", 0, 0, -1, 5), plain(1)), "do not fit"},
		{"no number of headers", batchOf(1, rec("\x00", 0, 0, -1, -1)), "do not fit"},
		{"a byte after the headers", batchOf(1, rec("\x00", 0, 0, -1, -1, 0, "x")), "do not fit"},
		{"a negative number of headers", batchOf(1, rec("\x00", 0, 0, -1, -1, -1)), "do not fit"},
		{"more headers than bytes", batchOf(1, rec("\x00", 0, 0, -1, -1, math.MaxInt32, 1, "k", -1)), "do not fit"},
		{"more headers than there are", batchOf(1, rec("\x00", 0, 0, -1, -1, 2, 1, "k", -1)), "do not fit"},
		{"fewer headers than there are", batchOf(1, rec("\x00", 0, 0, -1, -1, 1, 1, "k", -1, 1, "k", -1)), "do not fit"},
		{"a header with a null key", batchOf(1, rec("\x00", 0, 0, -1, -1, 1, -1, -1)), "do not fit"},
		{"a header's key beyond the record", batchOf(1, rec("\x00", 0, 0, -1, -1, 1, 9, "k", -1)), "do not fit"},
		{"a header's value of length -2", batchOf(1, rec("\x00", 0, 0, -1, -1, 1, 1, "k", -2)), "do not fit"},
		{"a header without a value", batchOf(1, rec("\x00", 0, 0, -1, -1, 1, 1, "k")), "do not fit"},
	})
}

func nothing(Batch) {}

// change changes b after its CRC was made.
func change(b Batch, f func(Batch)) Batch {
	f(b)
	return b
}

func TestAnySingleBitThatFlipsIsNoticed(t *testing.T) {
	var bld Builder
	bld.Add(1000, []byte("key"), []byte("value"), Header{"h", []byte("v")})
	bld.Add(900, nil, bytes.Repeat([]byte("long "), 40))
	bld.Add(2000, []byte{}, nil)
	bld.Close(42)
	var it Iterator
	for _, k := range append([]codectest.Packing{{Name: "none"}}, codectest.Packings...) {
		b := bytes.Clone(bld.Bytes())
		if k.Codec != codec.None {
			b = compressed(t, b, k)
		}
		if err := Batch(b).Verify(&it); err != nil {
			t.Fatal(err)
		}
		for bit := range len(b) * 8 {
			i := bit / 8
			b[i] ^= 1 << (bit % 8)
			stamped := i < posLength || i >= posEpoch && i < posMagic
			if err := Batch(b).Verify(&it); (err == nil) != stamped {
				t.Errorf("%s: bit %d of byte %d: %v", k.Name, bit%8, i, err)
			}
			b[i] ^= 1 << (bit % 8)
		}
	}
}

func TestNextSplitsBatchesAndKeepsWhatIsNotOne(t *testing.T) {
	one, two := batchOf(1, plain(0)), batchOf(2, plain(0), plain(1))
	p := append(bytes.Clone(one), two...)
	b, rest, err := Next(p)
	if err != nil || !bytes.Equal(b, one) || !bytes.Equal(rest, two) || cap(b) != len(b) {
		t.Fatalf("first: %x, %x, %v", b, rest, err)
	}
	b, rest, err = Next(rest)
	if err != nil || !bytes.Equal(b, two) || len(rest) != 0 {
		t.Fatalf("second: %x, %x, %v", b, rest, err)
	}
	for n := range one {
		if _, rest, err := Next(one[:n]); !errors.Is(err, ErrCorrupt) || len(rest) != n {
			t.Errorf("%d bytes of a batch: %v, and %d bytes left", n, err, len(rest))
		}
	}
}

func TestSizeNeedsNoMoreThanTheHeader(t *testing.T) {
	b := batchOf(2, plain(0), plain(1))
	if n, err := Size(b[:HeaderSize], len(b)); n != len(b) || err != nil {
		t.Errorf("got %d, %v, want %d", n, err, len(b))
	}
	if _, err := Size(b[:HeaderSize], len(b)-1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("with a smaller maximum: %v", err)
	}
}

func TestStampChangesTheOffsetsAndNotTheCRC(t *testing.T) {
	b := batchOf(2, plain(0), plain(1))
	for _, base := range []int64{0, 1, 1 << 40, math.MaxInt64 - 2} {
		b.Stamp(base, 7)
		if b.BaseOffset() != base || b.LastOffset() != base+1 || b.NextOffset() != base+2 || b.LeaderEpoch() != 7 {
			t.Errorf("base %d: offsets %d to %d, next %d, epoch %d", base, b.BaseOffset(), b.LastOffset(), b.NextOffset(), b.LeaderEpoch())
		}
		if err := b.CheckCRC(); err != nil {
			t.Error(err)
		}
	}
}

func TestVerifyRefusesWhatExpandsBeyondTheIteratorsMaximum(t *testing.T) {
	b := batchOf(1, rec("\x00", 0, 0, -1, 1000, make([]byte, 1000), 0))
	size := len(b) - HeaderSize
	for _, k := range codectest.Packings {
		p := compressed(t, b, k)
		it := Iterator{MaxExpanded: size}
		if err := p.Verify(&it); err != nil {
			t.Errorf("%s: at the maximum: %v", k.Name, err)
		}
		it.MaxExpanded--
		if err := p.Verify(&it); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: beyond the maximum: %v", k.Name, err)
		}
		if it.Next() || !errors.Is(it.Err(), ErrTooLarge) {
			t.Errorf("%s: after that Next goes on, or Err is %v", k.Name, it.Err())
		}
	}
}
