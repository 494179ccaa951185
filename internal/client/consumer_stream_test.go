package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mbus/internal/batch"
)

func noIdle() error { return nil }

// batchOf makes a batch of the values with the given base offset.
func batchOf(base int64, values ...string) string {
	var b batch.Builder
	for _, v := range values {
		b.Add(1718017201000, nil, []byte(v))
	}
	b.Close(base)
	return string(b.Bytes())
}

// drain reads a stream to its end, and returns what it has and how it ended.
func drain(s *stream) (got []string, err error) {
	var it batch.Iterator
	for {
		b, err := s.next()
		if err != nil {
			return got, err
		}
		if err := it.Reset(b); err != nil {
			return got, err
		}
		for it.Next() {
			got = append(got, fmt.Sprintf("%d/%d %s", s.partition, it.Record().Offset, it.Record().Value))
		}
		if it.Err() != nil {
			return got, it.Err()
		}
	}
}

func TestStreamEndsWithADot(t *testing.T) {
	in := "@0\n" + batchOf(5, "a", "b") + batchOf(7, "") + "@2\n@12\n" + batchOf(0, "c") + ".\n"
	want := []string{"0/5 a", "0/6 b", "0/7 ", "12/0 c"}
	for name, src := range map[string]io.Reader{
		"at once":      strings.NewReader(in),
		"byte by byte": iotest.OneByteReader(strings.NewReader(in)),
		"with the end": iotest.DataErrReader(strings.NewReader(in)),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(src, noIdle)
			got, err := drain(s)
			if !slices.Equal(got, want) || !errors.Is(err, io.EOF) {
				t.Errorf("got %q, %v; want %q, EOF", got, err, want)
			}
			if _, err := s.next(); !errors.Is(err, io.EOF) {
				t.Errorf("then %v, not EOF again", err)
			}
		})
	}
}

func TestStreamOfNothing(t *testing.T) {
	if got, err := drain(newStream(strings.NewReader(".\n"), noIdle)); len(got) != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStreamEndsWithAnErrorLine(t *testing.T) {
	tests := []struct {
		line  string
		want  Error
		skips bool
	}{
		{"-GAP first=120", Error{"GAP", "first=120"}, true},
		{"-DAMAGED orders/0: offsets 5 to 9", Error{"DAMAGED", "orders/0: offsets 5 to 9"}, true},
		{"-SHUTDOWN the broker is stopping", Error{"SHUTDOWN", "the broker is stopping"}, false},
		{"-INTERNAL", Error{"INTERNAL", ""}, false},
	}
	for _, tt := range tests {
		got, err := drain(newStream(strings.NewReader("@0\n"+batchOf(0, "a")+tt.line+"\n"), noIdle))
		var broker *Error
		if !errors.As(err, &broker) || *broker != tt.want || broker.Skips() != tt.skips {
			t.Errorf("%s: error %v", tt.line, err)
		}
		if !slices.Equal(got, []string{"0/0 a"}) {
			t.Errorf("%s: before it came %q", tt.line, got)
		}
		if want := "the broker answered " + tt.line; err.Error() != want {
			t.Errorf("says %q, want %q", err, want)
		}
	}
}

func TestErrorsSayWhereItGoesOn(t *testing.T) {
	for _, tt := range []struct {
		err       Error
		partition int
		next      int64
		ok        bool
	}{
		{Error{"GAP", "first=120 partition=3"}, 3, 120, true},
		{Error{"GAP", "first=120 partition=3: the messages below offset 120 are gone, removed by retention or lost"}, 3, 120, true},
		{Error{"GAP", "first=120"}, 0, 120, false},
		{Error{"DAMAGED", "a.b-c/2: offsets 5 to 9 can't be read"}, 2, 10, true},
		{Error{"DAMAGED", "something"}, 0, 1, false},
		{Error{"SHUTDOWN", "first=120 partition=3"}, 0, 0, false},
	} {
		partition, next, ok := tt.err.Missing()
		if ok != tt.ok || ok && (partition != tt.partition || next != tt.next) {
			t.Errorf("%v: %d, %d, %v", &tt.err, partition, next, ok)
		}
	}
}

func TestStreamThatStopsAnywhereIsLost(t *testing.T) {
	whole := "@0\n" + batchOf(0, "a", "b") + "@1\n" + batchOf(0, "c") + "-GAP first=3\n"
	for n := range len(whole) {
		_, err := drain(newStream(strings.NewReader(whole[:n]), noIdle))
		if !errors.Is(err, ErrLost) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

func TestStreamThatCannotBeReadIsLostAndSaysWhy(t *testing.T) {
	_, err := drain(newStream(iotest.ErrReader(errors.New("cable cut")), noIdle))
	if !errors.Is(err, ErrLost) || !strings.HasSuffix(err.Error(), "cable cut") {
		t.Errorf("got %v", err)
	}
}

func TestDamagedBatchIsRefusedAtAnyByteItsChecksumCovers(t *testing.T) {
	whole := "@0\n" + batchOf(0, "first order") + ".\n"
	const begin, attributes = 3, 21
	for i := begin + attributes; i < len(whole)-2; i++ {
		damaged := []byte(whole)
		damaged[i] ^= 0x10
		got, err := drain(newStream(bytes.NewReader(damaged), noIdle))
		if !errors.Is(err, batch.ErrCorrupt) || len(got) > 0 {
			t.Fatalf("byte %d: got %q, %v", i, got, err)
		}
	}
}

func TestWhatIsNoStreamOfBatchesIsRefused(t *testing.T) {
	for _, in := range []string{
		"HTTP/1.1 400 Bad ConsumeRequest\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
		batchOf(0, "no partition before it"),
		"@\n", "@x\n", "@-1\n", "@2147483648\n", "@0 \n",
		"..\n", "-\n", "- text\n", ".\r\n",
		"@" + strings.Repeat("0", 2*maxLine),
		"-" + strings.Repeat("E", maxLine) + "\n",
		"-" + strings.Repeat("E", 2*maxLine),
	} {
		got, err := drain(newStream(strings.NewReader(in), noIdle))
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, ErrLost) || len(got) > 0 {
			t.Errorf("%.40q: got %q, %v", in, got, err)
		}
	}
}

// claim is the beginning of a batch whose header claims a size in bytes.
func claim(size int) []byte {
	b := []byte(batchOf(0, ""))
	binary.BigEndian.PutUint32(b[8:], uint32(size-12))
	return b
}

func TestClaimedLengthIsNotAllocated(t *testing.T) {
	in := append([]byte("@0\n"), claim(maxBatch)...)
	s := newStream(bytes.NewReader(in), noIdle)
	if _, err := s.next(); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if len(s.buf) > readSize {
		t.Errorf("the buffer has grown to %d bytes for the %d that came", len(s.buf), len(in))
	}
}

func TestBatchLargerThanAnyMayBeIsRefused(t *testing.T) {
	for _, size := range []int{maxBatch + 1, 60, 0, 11} {
		in := append([]byte("@0\n"), claim(size)...)
		if _, err := newStream(bytes.NewReader(in), noIdle).next(); !errors.Is(err, batch.ErrCorrupt) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestBatchLargerThanTheBuffer(t *testing.T) {
	large := strings.Repeat("0123456789", readSize/2)
	in := "@0\n" + batchOf(0, "small") + batchOf(1, large) + batchOf(2, "small") + ".\n"
	s := newStream(strings.NewReader(in), noIdle)
	got, err := drain(s)
	if !errors.Is(err, io.EOF) || !slices.Equal(got, []string{"0/0 small", "0/1 " + large, "0/2 small"}) {
		t.Errorf("got %d messages, %v", len(got), err)
	}
	if len(s.buf) > 4*len(large) {
		t.Errorf("the buffer has grown to %d bytes for a batch of %d", len(s.buf), len(large))
	}
}

func TestIdleIsCalledBeforeEveryReadAndItsErrorEndsTheStream(t *testing.T) {
	full := errors.New("disk full")
	reads, calls := 0, 0
	src := sourceFunc(func(p []byte) (int, error) {
		if reads++; calls != reads {
			t.Errorf("read %d after %d calls", reads, calls)
		}
		return copy(p, "@0\n"+batchOf(0, "a")), nil
	})
	s := newStream(src, func() error {
		if calls++; calls == 3 {
			return full
		}
		return nil
	})
	got, err := drain(s)
	if len(got) != 2 || err != full {
		t.Errorf("got %q, %v", got, err)
	}
}

type sourceFunc func(p []byte) (int, error)

func (f sourceFunc) Read(p []byte) (int, error) { return f(p) }

// repeated is an endless stream of a chunk.
type repeated struct {
	chunk []byte
	pos   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.chunk[r.pos:])
	r.pos = (r.pos + n) % len(r.chunk)
	return n, nil
}

func TestNoAllocationForABatch(t *testing.T) {
	s := newStream(&repeated{chunk: []byte(batchOf(0, strings.Repeat("x", 60_000)))}, noIdle)
	s.partition = 0
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("@0\n"+batchOf(5, "a", "b")+"@1\n"+batchOf(0, "c")+".\n"), 3)
	f.Add([]byte("-GAP first=120\n"), 1)
	f.Add(append([]byte("@0\n"), claim(maxBatch)...), 100)
	f.Add([]byte("@2147483648\n"), 7)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		whole := newStream(bytes.NewReader(in), noIdle)
		want, wantErr := drain(whole)
		if wantErr == nil {
			t.Fatal("the stream did not end")
		}
		if len(whole.buf) > readSize+2*len(in) {
			t.Errorf("a buffer of %d bytes for %d", len(whole.buf), len(in))
		}
		size := max(1, step%200)
		src := bytes.NewReader(in)
		pieces := newStream(sourceFunc(func(p []byte) (int, error) { return src.Read(p[:min(size, len(p))]) }), noIdle)
		got, gotErr := drain(pieces)
		if !slices.Equal(got, want) || gotErr.Error() != wantErr.Error() {
			t.Errorf("in pieces of %d: %q, %v; at once: %q, %v", size, got, gotErr, want, wantErr)
		}
	})
}
