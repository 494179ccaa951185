package jetstream

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
)

func TestPrefixKeepsWhatItSays(t *testing.T) {
	want := prefix{
		epoch: 7, kind: batches, base: 1 << 40, start: 1 << 39, removed: 1 << 41, pos: 1 << 42, latest: -5, section: 1 << 43, sectPos: 1 << 41,
		appended: math.MaxUint32, first: 12,
	}
	p := append(make([]byte, prefixSize), "batches"...)
	want.encode(p)
	got, rest, err := parsePrefix(p)
	if err != nil || got != want || string(rest) != "batches" {
		t.Errorf("%+v before %q: %v; want %+v", got, rest, err, want)
	}
}

func TestPrefixThatIsDamagedIsRefused(t *testing.T) {
	good := append(make([]byte, prefixSize), 1)
	(&prefix{epoch: 1, base: 10, start: 5, removed: 2, pos: 9, latest: noTime}).encode(good)
	for bit := range 8 * prefixSize {
		p := bytes.Clone(good)
		p[bit/8] ^= 1 << (bit % 8)
		if _, _, err := parsePrefix(p); err == nil {
			t.Errorf("with bit %d flipped it is taken", bit)
		}
	}
	for n := range prefixSize {
		if _, _, err := parsePrefix(good[:n]); err == nil {
			t.Errorf("%d bytes are taken", n)
		}
	}
}

func TestPrefixThatMakesNoSenseIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prefix
		rest int
	}{
		"a kind that there is not":      {prefix{kind: kinds}, 0},
		"batches without any":           {prefix{kind: batches}, 0},
		"a fence with batches":          {prefix{kind: fence}, 1},
		"a head with batches":           {prefix{kind: head}, 1},
		"a negative offset":             {prefix{kind: state, base: -1}, 0},
		"a negative log start":          {prefix{kind: state, start: -1}, 0},
		"a log start behind the end":    {prefix{kind: state, base: 4, start: 5}, 0},
		"more removed than there was":   {prefix{kind: state, removed: 2, pos: 1}, 0},
		"a section behind the end":      {prefix{kind: state, sectPos: 2, pos: 1}, 0},
		"a negative position":           {prefix{kind: state, pos: -1}, 0},
		"a negative number of removed":  {prefix{kind: state, removed: -1}, 0},
		"a section before the position": {prefix{kind: state, sectPos: -1}, 0},
	} {
		p := make([]byte, prefixSize+c.rest)
		c.encode(p)
		if f, _, err := parsePrefix(p); err == nil {
			t.Errorf("%s is taken: %+v", name, f)
		}
	}
}

func TestSecondsOfAppendsRoundUp(t *testing.T) {
	for ms, want := range map[int64]uint32{firstSecond * 1000: 1, firstSecond*1000 + 5000: 5, firstSecond*1000 + 5001: 6, 0: 1, math.MaxInt64 / 2: math.MaxUint32} {
		if got := seconds(time.UnixMilli(ms)); got != want {
			t.Errorf("%d ms are %d s, not %d", ms, got, want)
		}
	}
}

// messageOf makes a message of batches.
func messageOf(f prefix, list ...[]byte) []byte {
	p := append(make([]byte, prefixSize), slices.Concat(list...)...)
	f.encode(p)
	return p
}

func FuzzMessage(f *testing.F) {
	b := batchtest.Values("one", "two")
	b.Stamp(10, 7)
	f.Add(messageOf(prefix{base: 10, epoch: 3}, b))
	f.Add(messageOf(prefix{kind: fence, base: 10, epoch: 3}))
	f.Add(messageOf(prefix{kind: head, base: 10, epoch: 3}))
	f.Add([]byte(prefixMagic))
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := parse(stored{5, p}, 7)
		if err != nil {
			if m != nil && len(m.data) > len(p) {
				t.Error("more is valid than there is")
			}
			return
		}
		if m.kind == batches && (m.next <= m.base || m.find(m.base) != m.pos || m.find(m.next-1) >= m.end()) {
			t.Errorf("offsets %d to %d in %d bytes at position %d", m.base, m.next, len(m.data), m.pos)
		}
		again := bytes.Clone(p)
		if m.prefix.encode(again); !bytes.Equal(again, p) {
			t.Error("the prefix encodes to something else")
		}
		var e tail
		e.follow(m)
		if e.next != m.next || e.pos != m.pos+int64(len(m.data)) {
			t.Errorf("behind %+v the tail is %+v", m.prefix, e)
		}
	})
}
