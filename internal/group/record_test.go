package group_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/group"
)

var keys = []group.Key{
	{Group: "default", Topic: "orders"},
	{Group: "", Topic: "", Partition: 0},
	{Group: strings.Repeat("g", 249), Topic: strings.Repeat("t", 249), Partition: math.MaxInt32},
}

var states = []group.State{
	{},
	{Offset: 1},
	{Offset: math.MaxInt64},
	{Beyond: []group.Span{{From: 1, To: 2}}},
	{Offset: 7, Beyond: []group.Span{{From: 8, To: 9}, {From: 11, To: math.MaxInt64}}},
}

func mustEqualState(t *testing.T, got, want group.State) {
	t.Helper()
	if got.Offset != want.Offset || len(got.Beyond) != len(want.Beyond) ||
		len(got.Beyond) > 0 && !reflect.DeepEqual(got.Beyond, want.Beyond) {
		t.Errorf("%+v, not %+v", got, want)
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	for _, k := range keys {
		got, err := group.ParseKey(k.AppendKey(nil))
		if err != nil || got != k {
			t.Errorf("%+v, %v: not %+v", got, err, k)
		}
	}
	for _, s := range states {
		got, err := group.ParseValue(s.AppendValue([]byte("before"), 12345)[len("before"):])
		if err != nil {
			t.Errorf("%+v: %v", s, err)
		}
		mustEqualState(t, got, s)
	}
}

func TestRecordsAreThoseOfKafka(t *testing.T) {
	k := keys[2]
	theirs := kmsg.OffsetCommitKey{Version: 1, Group: k.Group, Topic: k.Topic, Partition: int32(k.Partition)}
	if got := k.AppendKey(nil); string(got) != string(theirs.AppendTo(nil)) {
		t.Errorf("key %x, not %x", got, theirs.AppendTo(nil))
	}
	value := kmsg.OffsetCommitValue{Version: 3, Offset: 77, LeaderEpoch: -1, CommitTimestamp: 1718017201000}
	mine := group.State{Offset: 77, Beyond: []group.Span{{From: 80, To: 81}}}.AppendValue(nil, 1718017201000)
	if !strings.HasPrefix(string(mine), string(value.AppendTo(nil))) {
		t.Errorf("value %x does not begin with %x", mine, value.AppendTo(nil))
	}
	value.Metadata, value.LeaderEpoch = "of a client", 5
	s, err := group.ParseValue(value.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	mustEqualState(t, s, group.State{Offset: 77})
}

func TestRecordsThatCannotBeOnesAreRefused(t *testing.T) {
	key, value := keys[0].AppendKey(nil), states[4].AppendValue(nil, 0)
	for n := range key {
		if k, err := group.ParseKey(key[:n]); err == nil {
			t.Errorf("%d bytes of a key are taken for %+v", n, k)
		}
	}
	plain := len(states[1].AppendValue(nil, 0)) - 4 // as Kafka writes it
	for n := range value {
		if s, err := group.ParseValue(value[:n]); err == nil && n != plain {
			t.Errorf("%d bytes of a value are taken for %+v", n, s)
		}
	}
	with := func(p []byte, at int, b byte) []byte {
		p = append([]byte(nil), p...)
		p[at] = b
		return p
	}
	for name, k := range map[string][]byte{
		"another version":    with(key, 1, 2),
		"negative partition": with(key, len(key)-4, 0x80),
	} {
		if got, err := group.ParseKey(k); err == nil {
			t.Errorf("key with %s is taken for %+v", name, got)
		}
	}
	span := func(s ...group.Span) []byte { return group.State{Offset: 7, Beyond: s}.AppendValue(nil, 0) }
	for name, v := range map[string][]byte{
		"another version":               with(value, 1, 4),
		"negative offset":               with(value, 2, 0x80),
		"more spans than it has":        with(value, plain+3, 3),
		"a number of spans that is mad": with(value, plain, 0xff),
		"an empty span":                 span(group.Span{From: 9, To: 9}),
		"a span below the offset":       span(group.Span{From: 5, To: 9}),
		"spans that overlap":            span(group.Span{From: 8, To: 10}, group.Span{From: 9, To: 12}),
	} {
		if got, err := group.ParseValue(v); err == nil {
			t.Errorf("value with %s is taken for %+v", name, got)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, k := range keys {
		f.Add(k.AppendKey(nil))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		k, err := group.ParseKey(p)
		if err != nil {
			return
		}
		again, err := group.ParseKey(k.AppendKey(nil))
		if err != nil || again != k {
			t.Errorf("%+v is written and read as %+v, %v", k, again, err)
		}
	})
}

func FuzzParseValue(f *testing.F) {
	for _, s := range states {
		f.Add(s.AppendValue(nil, 1))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := group.ParseValue(p)
		if err != nil {
			return
		}
		again, err := group.ParseValue(s.AppendValue(nil, 2))
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		mustEqualState(t, again, s)
		g := group.New(func(group.Key, group.State, func(error)) {})
		g.Load(theKey, s)
		if c := g.Committed(theKey); c < s.Offset {
			t.Errorf("loaded, %+v is committed at %d", s, c)
		}
	})
}
