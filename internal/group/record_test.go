package group_test

import (
	"encoding/binary"
	"math"
	"slices"
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

// runs are so many spans of one message, with one between.
func runs(n int64) (all []group.Span) {
	for i := range n {
		all = append(all, group.Span{From: 2*i + 8, To: 2*i + 9})
	}
	return all
}

var states = []group.State{
	{Offset: 7, AckedAhead: runs(1000)},
	{Offset: 7, AckedAhead: runs(1001)},
	{Offset: 7, Epoch: group.NoEpoch, AckedAhead: append(runs(9999), group.Span{From: 1 << 40, To: math.MaxInt64}), Failed: []group.Failure{{Offset: 7, Attempts: 1}}},

	{},
	{Offset: 1, Epoch: group.NoEpoch},
	{Offset: math.MaxInt64, Epoch: math.MaxInt32, Metadata: strings.Repeat("m", 32767)},
	{AckedAhead: []group.Span{{From: 1, To: 2}}},
	{TopicID: group.ID{1, 15: 16}, Offset: 3},
	{Offset: 7, AckedAhead: []group.Span{{From: 8, To: 9}, {From: 11, To: math.MaxInt64}}, Metadata: "of a client"},
	{
		Offset: 7, Epoch: 5, AckedAhead: []group.Span{{From: 8, To: 9}},
		Failed: []group.Failure{{Offset: 7, Attempts: 1}, {Offset: 9, Attempts: math.MaxInt32}},
	},
	{Offset: 5, AckedAhead: []group.Span{{From: 5, To: 9}}, Failed: []group.Failure{{Offset: 6, Attempts: 1}}}, // which nobody writes
	{TopicID: group.ID{1, 15: 16}, Offset: 3, Epoch: group.NoEpoch, Assigned: true},
	{TopicID: group.ID{1, 15: 16}, Offset: 3, Epoch: 7, Metadata: "of a client", Assigned: true},
	{Offset: -1, Epoch: group.NoEpoch, Assigned: true}, // of a Kafka client: no position
	{Offset: math.MinInt64, Epoch: group.NoEpoch, Failed: []group.Failure{{Offset: 0, Attempts: 1}}},
	{Offset: 7, AckedAhead: runs(16), Failed: failures(16)},
	{Offset: 7, AckedAhead: runs(17), Failed: failures(17)},
	{Offset: 7, Failed: failures(1000)},
	{Offset: 7, Failed: append(failures(20), group.Failure{Offset: math.MaxInt64 - 1, Attempts: math.MaxInt32})},
}

// failures are so many, every second message from offset 7 on.
func failures(n int64) (all []group.Failure) {
	for i := range n {
		all = append(all, group.Failure{Offset: 2*i + 7, Attempts: int(i) + 1})
	}
	return all
}

func mustEqualState(t *testing.T, got, want group.State) {
	t.Helper()
	if got.TopicID != want.TopicID || got.Offset != want.Offset || got.Epoch != want.Epoch || got.Metadata != want.Metadata || got.Assigned != want.Assigned ||
		!slices.Equal(got.AckedAhead, want.AckedAhead) || !slices.Equal(got.Failed, want.Failed) {
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
	value := kmsg.OffsetCommitValue{Version: 3, Offset: 77, LeaderEpoch: 5, Metadata: "of a client", CommitTimestamp: 1718017201000}
	state := group.State{Offset: 77, Epoch: 5, Metadata: "of a client", Assigned: true}
	mine := state.AppendValue(nil, 1718017201000)
	if !strings.HasPrefix(string(mine), string(value.AppendTo(nil))) {
		t.Errorf("value %x does not begin with %x", mine, value.AppendTo(nil))
	}
	s, err := group.ParseValue(value.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	mustEqualState(t, s, state)
}

// tail is what a topic's id, the kind and no more spans take at the end of a value.
const tail = 16 + 1 + 1

func TestRecordsOfOlderVersionsAreRead(t *testing.T) {
	state := group.State{Offset: 7, Epoch: group.NoEpoch, AckedAhead: []group.Span{{From: 8, To: 9}}}
	value := state.AppendValue(nil, 0)
	for name, old := range map[string][]byte{
		"without failures":       value[:len(value)-tail-4],
		"without the topic's id": value[:len(value)-tail],
		"without its kind":       value[:len(value)-2],
		"without more spans":     value[:len(value)-1],
	} {
		s, err := group.ParseValue(old)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		mustEqualState(t, s, state)
	}
}

// former is a value of offset 7 as former versions wrote it, with spans and failures in
// front, up to where more spans stand.
func former(spans []group.Span, failures []group.Failure) []byte {
	p := group.State{Offset: 7, Epoch: group.NoEpoch}.AppendValue(nil, 0)
	p = binary.BigEndian.AppendUint32(p[:len(p)-8-tail], uint32(len(spans)))
	for _, s := range spans {
		p = binary.BigEndian.AppendUint64(p, uint64(s.From))
		p = binary.BigEndian.AppendUint64(p, uint64(s.To))
	}
	p = binary.BigEndian.AppendUint32(p, uint32(len(failures)))
	for _, f := range failures {
		p = binary.BigEndian.AppendUint64(p, uint64(f.Offset))
		p = binary.BigEndian.AppendUint32(p, uint32(f.Attempts))
	}
	return append(p, make([]byte, 16+1)...) // the topic's id, and its kind
}

func TestLongListsOfFormerVersionsAreRead(t *testing.T) {
	want := group.State{Offset: 7, Epoch: group.NoEpoch, AckedAhead: runs(1002), Failed: failures(1000)}
	got, err := group.ParseValue(append(former(want.AckedAhead[:1000], want.Failed), 2, 1, 1, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	mustEqualState(t, got, want)
}

func TestAThousandFailuresTakeLittleRoom(t *testing.T) {
	value := group.State{Offset: 1 << 40, AckedAhead: shifted(runs(1000)), Failed: failures(1000)}.AppendValue(nil, 0)
	if len(value) > 5000 {
		t.Errorf("%d bytes", len(value))
	}
}

// shifted are spans a long way further on.
func shifted(spans []group.Span) []group.Span {
	for i := range spans {
		spans[i].From += 1 << 40
		spans[i].To += 1 << 40
	}
	return spans
}

// In records that are older than the kind, a commit of a Kafka client is known by the epoch and
// the metadata, which only Kafka clients give.
func TestTheKindOfOlderPositionsFollowsFromEpochAndMetadata(t *testing.T) {
	for _, c := range []struct {
		group.State
		assigned bool
	}{
		{group.State{Offset: 7, Epoch: group.NoEpoch}, false},
		{group.State{Offset: 7, Epoch: 0}, true},
		{group.State{Offset: 7, Epoch: group.NoEpoch, Metadata: "m"}, true},
	} {
		value := c.AppendValue(nil, 0)
		got, err := group.ParseValue(value[:len(value)-2])
		if err != nil || got.Assigned != c.assigned {
			t.Errorf("%+v: %+v, %v", c.State, got, err)
		}
	}
}

func TestRecordsCutShortAreRefused(t *testing.T) {
	key, value := keys[0].AppendKey(nil), states[9].AppendValue(nil, 0)
	for n := range key {
		if k, err := group.ParseKey(key[:n]); err == nil {
			t.Errorf("%d bytes of a key are taken for %+v", n, k)
		}
	}
	kafka := len(states[3].AppendValue(nil, 0)) - 8 - tail
	first := len(value) - 4 - 2*12 - tail
	for n := range value {
		if s, err := group.ParseValue(value[:n]); err == nil && n != kafka && n != first && n != len(value)-tail && n != len(value)-2 && n != len(value)-1 {
			t.Errorf("%d bytes of a value are taken for %+v", n, s)
		}
	}
	if _, err := group.ParseValue(append(value, 0)); err == nil {
		t.Error("a byte too many is not seen")
	}
}

func TestRecordsThatCannotBeOnesAreRefused(t *testing.T) {
	key, value := keys[0].AppendKey(nil), states[9].AppendValue(nil, 0)
	with := func(p []byte, at int, b byte) []byte {
		p = append([]byte(nil), p...)
		p[at] = b
		return p
	}
	for name, k := range map[string][]byte{
		"another version":    with(key, 1, 2),
		"negative partition": with(key, len(key)-4, 0x80),
		"a byte too many":    append(key[:len(key):len(key)], 0),
	} {
		if got, err := group.ParseKey(k); err == nil {
			t.Errorf("key with %s is taken for %+v", name, got)
		}
	}
	spans := len(states[3].AppendValue(nil, 0)) - 8 - tail
	failures := len(value) - 4 - 2*12 - tail
	many := former(runs(1000), nil)
	long := func(failed ...byte) []byte { return append(former(nil, nil), append([]byte{0}, failed...)...) }
	span := func(s ...group.Span) []byte { return group.State{Offset: 7, AckedAhead: s}.AppendValue(nil, 0) }
	failure := func(f ...group.Failure) []byte { return group.State{Offset: 7, Failed: f}.AppendValue(nil, 0) }
	for name, v := range map[string][]byte{
		"another version":                     with(value, 1, 4),
		"more spans than it has":              with(value, spans+3, 9),
		"a number of spans that is mad":       with(value, spans, 0xff),
		"an empty span":                       span(group.Span{From: 9, To: 9}),
		"a span below the offset":             span(group.Span{From: 5, To: 9}),
		"spans that overlap":                  span(group.Span{From: 8, To: 10}, group.Span{From: 9, To: 12}),
		"more failures than it has":           with(value, failures+3, 3),
		"a number of failures that is mad":    with(value, failures, 0xff),
		"a failure below the offset":          failure(group.Failure{Offset: 6, Attempts: 1}),
		"no attempts":                         failure(group.Failure{Offset: 8}),
		"a kind that there is not":            with(value, len(value)-2, 2),
		"more spans behind few":               with(value, len(value)-1, 1),
		"more spans than are kept":            binary.AppendUvarint(value[:len(value)-1:len(value)-1], 10_001),
		"more spans that wrap around":         binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(many[:len(many):len(many)], 1), math.MaxInt64), 1),
		"more spans of nothing":               append(many[:len(many):len(many)], 1, 0, 0),
		"more of the later spans than it has": append(many[:len(many):len(many)], 2, 1, 1),
		"no failures at the end":              long(0),
		"fewer failures at the end":           long(2, 8, 1),
		"a failure at the end twice":          long(2, 8, 1, 0, 1),
		"one at the end below the offset":     long(1, 6, 1),
		"one at the end without attempts":     long(1, 8, 0),
		"more failures than are kept":         binary.AppendUvarint(long(), 1001),
		"failures at the end and in front":    append(former(nil, []group.Failure{{Offset: 8, Attempts: 1}}), 0, 1, 9, 1),
		"a failure twice":                     failure(group.Failure{Offset: 8, Attempts: 1}, group.Failure{Offset: 8, Attempts: 2}),
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
		g := group.New(func([]group.Entry) error { return nil })
		g.Load(theKey, s)
		if c := g.Of(theKey.Group)[0]; c.Offset < s.Offset {
			t.Errorf("loaded, %+v is %+v", s, c)
		} else if _, err := group.ParseValue(c.AppendValue(nil, 3)); err != nil {
			t.Errorf("loaded, %+v can't be kept again: %v", s, err)
		}
	})
}
