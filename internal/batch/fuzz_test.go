package batch

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch/codec/codectest"
)

// FuzzVerify checks arbitrary bytes, with magic, length and CRC made right so
// that they get past those. What Verify accepts can be walked, cut in two and
// put together again, and franz-go finds the same number of records in it.
func FuzzVerify(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(batchOf(2, plain(0), plain(1))))
	f.Add([]byte(batchOf(1, rec("\x00", 5, 0, -1, -1, 2, 1, "k", -1, 0, 1, "v"))))
	for _, k := range codectest.Packings {
		f.Add([]byte(compressed(f, batchOf(2, plain(0), plain(1)), k)))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		it := Iterator{MaxExpanded: 1 << 20}
		checkError(t, Batch(p).Verify(&it)) // as it is
		if len(p) < HeaderSize {
			return
		}
		b := fixed(bytes.Clone(p), func(b Batch) { b[posMagic] = magic })
		err := b.Verify(&it)
		checkError(t, err)
		if err == nil {
			checkAccepted(t, &it, b)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func checkAccepted(t *testing.T, it *Iterator, b Batch) {
	t.Helper()
	b.Stamp(0, 0)
	var whole, parts Builder
	middle := int64(b.Count() / 2)
	for _, err := range []error{
		Slice(&whole, it, b, 0, math.MaxInt64),
		Slice(&parts, it, b, 0, middle),
		Slice(&parts, it, b, middle, math.MaxInt64),
		Batch(whole.Bytes()).Verify(it),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := Batch(whole.Bytes()).Count(); got != b.Count() {
		t.Fatalf("%d records of %d", got, b.Count())
	}
	p := kmsg.NewFetchResponseTopicPartition()
	p.RecordBatches = b
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, &p, kgo.DefaultDecompressor(), nil)
	if got.Err != nil || len(got.Records) != b.Count() {
		t.Fatalf("franz-go reads %d records of %d: %v", len(got.Records), b.Count(), got.Err)
	}
	both := len(parts.Bytes())
	for rest := parts.Bytes(); len(rest) > 0; {
		part, after, err := Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if err := part.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		rest = after
	}
	if both < len(whole.Bytes()) {
		t.Fatalf("the parts have %d bytes, the whole %d", both, len(whole.Bytes()))
	}
}

// FuzzBuilderRoundTrip checks that the records that go into a Builder come out
// of an Iterator.
func FuzzBuilderRoundTrip(f *testing.F) {
	f.Add(int64(0), int64(0), []byte("key"), []byte("value"), "header", []byte("of it"), uint8(0), uint16(1))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), []byte{}, []byte{}, "", []byte{}, uint8(7), uint16(300))
	f.Fuzz(func(t *testing.T, first, then int64, key, value []byte, name string, content []byte, nulls uint8, count uint16) {
		for i, p := range []*[]byte{&key, &value, &content} {
			switch {
			case nulls>>i&1 != 0:
				*p = nil
			case *p == nil:
				*p = []byte{}
			}
		}
		header := Header{name, content}
		var b Builder
		n := int(count)%1000 + 1
		b.Add(first, key, value)
		for i := 1; i < n; i++ {
			b.Add(then, value, key, header, header)
		}
		b.Close(first)
		var it Iterator
		p := Batch(b.Bytes())
		if err := p.Verify(&it); err != nil {
			t.Fatal(err)
		}
		if p.MaxTimestamp() != max(first, then) && n > 1 || p.Count() != n {
			t.Fatalf("latest time %d, %d records", p.MaxTimestamp(), p.Count())
		}
		if err := it.Reset(p); err != nil {
			t.Fatal(err)
		}
		for i := 0; it.Next(); i++ {
			r := it.Record()
			if i == 0 {
				checkRecord(t, r, first, first, key, value)
				continue
			}
			checkRecord(t, r, first+int64(i), then, value, key, header, header)
		}
	})
}

func checkRecord(t *testing.T, r *Record, offset, timestamp int64, key, value []byte, headers ...Header) {
	t.Helper()
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	if r.Offset != offset || r.Timestamp != timestamp || !same(r.Key, key) || !same(r.Value, value) || r.HeaderCount() != len(headers) {
		t.Fatalf("got %+v", r)
	}
	for k, v := range r.Headers() {
		if string(k) != headers[0].Key || !same(v, headers[0].Value) {
			t.Fatalf("header %q is %q", k, v)
		}
		headers = headers[1:]
	}
}

// FuzzPlainRecords checks that the fast path reads what the slow path reads.
func FuzzPlainRecords(f *testing.F) {
	f.Add(plain(0))
	f.Add(append(rec("\x00", 1<<40, 1000, -1, 3, "abc", 0), plain(1001)...))
	f.Add(append(rec("\x00", 0, 0, -2, -3, 0), plain(1)...))
	f.Fuzz(func(t *testing.T, p []byte) { samePath(t, p) })
}
