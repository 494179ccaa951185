package broker_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

const positionsLog = "/data/topics/__consumer_offsets/0/00000000000000000000.log"

// flip changes a bit in a file.
func flip(t testing.TB, disk *crashfs.FS, name string, at int64) {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p [1]byte
	_, err = f.ReadAt(p[:], at)
	p[0] ^= 1
	if err == nil {
		_, err = f.WriteAt(p[:], at)
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		t.Fatal(err)
	}
}

// batchesOf are the batches of a topic's first partition.
func batchesOf(t testing.TB, b *bus, topic string) []batch.Batch {
	t.Helper()
	found, err := b.Topic(topic)
	if err != nil {
		t.Fatal(err)
	}
	var c store.Chunk
	defer c.Release()
	start, high := found.Partitions()[0].Offsets()
	var all []batch.Batch
	for start < high {
		if err := found.Partitions()[0].Fetch(start, 1, &c); err != nil {
			t.Fatal(err)
		}
		p, err := c.Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Clone(batch.Batch(p)))
		start = c.Next
	}
	return all
}

// fresh is where a group begins that begins at the end where nothing is kept of it.
func fresh(t testing.TB, b *bus, groupName, topic string) int64 {
	t.Helper()
	p := position(t, b, groupName, topic, 0)
	defer p.Close()
	b.StartAtEnd(p, mustMake(t, b, topic), 0)
	return p.Committed()
}

// TestDamagedPositionsStopNothingAndSkipNothing damages each batch of the positions log in
// turn: group old has a position before and behind, group once has one in one batch.
func TestDamagedPositionsStopNothingAndSkipNothing(t *testing.T) {
	base := crashfs.New()
	s := setup{disk: base}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	for i, g := range []string{"old", "once", "old"} {
		mustCommit(t, b, g, group.Commit{Topic: "orders", Offset: int64(i + 1), LeaderEpoch: group.NoEpoch})
	}
	batches := batchesOf(t, b, broker.PositionsTopic)
	mustClose(t, b)
	if len(batches) != 3 {
		t.Fatalf("%d batches", len(batches))
	}
	at := int64(0)
	for i, damaged := range batches {
		t.Run(fmt.Sprint("batch ", i), func(t *testing.T) {
			book, log := newLog()
			s := setup{disk: base.KillClone(), options: broker.Options{Log: log}}
			flip(t, s.disk, positionsLog, at+80)
			want := map[string]int64{"old": 3, "once": 2, "none": 0}
			switch i {
			case 1:
				want["once"] = 0 // the first message: it comes again
			case 2:
				want["old"] = 1
			}
			for life := range 3 {
				b := mustOpen(t, s)
				if n := len(book.Lines("level=ERROR", "positions of groups can't be read", fmt.Sprint("until=", i+1))); n != life+1 {
					t.Errorf("life %d: %q", life, book.Lines())
				}
				got := map[string]int64{"old": 0, "once": 0}
				for g := range maps.Keys(got) {
					c, _ := b.CommittedOffset(g, "orders", 0)
					got[g] = c.Offset
				}
				if got["none"] = fresh(t, b, fmt.Sprint("none", life), "orders"); !maps.Equal(got, want) {
					t.Errorf("life %d: positions %v, not %v", life, got, want)
				}
				if life == 0 { // a topic that is later has lost nothing
					mustFill(t, b, "later")
				}
				if got := fresh(t, b, fmt.Sprint("none", life), "later"); got != filled {
					t.Errorf("in a later topic a group begins at %d", got)
				}
				mustClose(t, b)
			}
		})
		at += int64(len(damaged))
	}
}

// Compaction removes the damaged part, and what it may have cost is remembered until the
// messages of that time are gone.
func TestWhatDamageToPositionsMayHaveCostOutlivesACompaction(t *testing.T) {
	book, log := newLog()
	s := setup{disk: crashfs.New(), options: broker.Options{Log: log}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	mustCommit(t, b, "once", group.Commit{Topic: "orders", Offset: 5})
	mustClose(t, b)
	flip(t, s.disk, positionsLog, 80)
	b = mustOpen(t, s)
	compactPositionsLog(t, b)
	await(t, "it is said that the damage is gone", func() bool {
		return len(book.Lines("level=WARN", "damaged part of the groups' positions was removed")) == 1
	})
	b = reopened(t, b, s)
	if n := len(book.Lines("level=ERROR", "positions of groups can't be read")); n != 1 {
		t.Errorf("it is reported %d times", n)
	}
	if got := fresh(t, b, "none", "orders"); got != 0 {
		t.Errorf("a group of which nothing is kept begins at %d", got)
	}
	orders := mustMake(t, b, "orders").Partitions()[0]
	publish(t, orders, time.Now(), 1, 10)
	if err := orders.Trim(filled); err != nil { // all that was there then
		t.Fatal(err)
	}
	if got := fresh(t, b, "later", "orders"); got != filled+1 {
		t.Errorf("when the messages are gone one begins at %d", got)
	}
	mustClose(t, b)
}

func TestARecordOfThePositionsThatIsNoneStopsNothing(t *testing.T) {
	key := func(name string) []byte { return group.Key{Group: name, Topic: "orders"}.AppendKey(nil) }
	value := group.State{Offset: 5}.AppendValue(nil, 0)
	for name, record := range map[string][2][]byte{
		"key":     {[]byte("no key"), value},
		"value":   {key("billing"), []byte("no value")},
		"no key":  {nil, value},
		"version": {append([]byte{0, 2}, "a group's members, as in Kafka"...), value},
	} {
		t.Run(name, func(t *testing.T) {
			book, log := newLog()
			s := setup{dir: t.TempDir(), options: broker.Options{Log: log}}
			fillPositionsLog(t, s, func(b *batch.Builder) {
				b.Add(0, key("billing"), value)
				b.Add(0, record[0], record[1])
				b.Add(0, key("stock"), value)
			})
			for range 2 {
				b := mustOpen(t, s)
				for _, g := range []string{"billing", "stock"} {
					if c, ok := b.CommittedOffset(g, "orders", 0); !ok || c.Offset != 5 {
						t.Errorf("%s: %+v, %v", g, c, ok)
					}
				}
				if got := fresh(t, b, "none", "orders"); got != 0 {
					t.Errorf("a group of which nothing is kept begins at %d", got)
				}
				mustClose(t, b)
			}
			if n := len(book.Lines("level=ERROR", "first=1", "until=2")); n != 2 {
				t.Errorf("%q", book.Lines())
			}
		})
	}
}

func TestPositionsBeyondTheEndAreSetToTheEnd(t *testing.T) {
	key := func(name string, partition int) []byte {
		return group.Key{Group: name, Topic: "orders", Partition: partition}.AppendKey(nil)
	}
	states := map[string]group.State{
		"below":   {Offset: filled - 1},
		"at":      {Offset: filled},
		"beyond":  {Offset: filled + 100, Epoch: 7, Metadata: "of a client"},
		"spans":   {Offset: 5, AckedAhead: []group.Span{{From: 7, To: 9}, {From: filled - 2, To: filled + 3}, {From: filled + 5, To: filled + 6}}},
		"above":   {Offset: filled, AckedAhead: []group.Span{{From: filled + 5, To: filled + 6}}},
		"failed":  {Offset: 5, Failed: []group.Failure{{Offset: 6, Attempts: 2}, {Offset: filled, Attempts: 3}}},
		"joining": {Offset: filled - 2, AckedAhead: []group.Span{{From: filled - 1, To: filled + 3}}},
	}
	book, log := newLog()
	s := setup{dir: t.TempDir(), options: broker.Options{Log: log}}
	fillPositionsLog(t, s, func(b *batch.Builder) {
		for _, g := range slices.Sorted(maps.Keys(states)) {
			b.Add(0, key(g, 0), states[g].AppendValue(nil, 0))
		}
	})
	b := mustOpen(t, s)
	for g, want := range map[string][]group.Span{
		"below":   {{From: filled - 1, To: filled + 5}},
		"at":      {{From: filled, To: filled + 5}},
		"beyond":  {{From: filled, To: filled + 5}},
		"spans":   {{From: 5, To: 7}, {From: 9, To: filled - 2}, {From: filled, To: filled + 5}},
		"above":   {{From: filled, To: filled + 5}},
		"failed":  {{From: 5, To: filled + 5}},
		"joining": {{From: filled - 2, To: filled - 1}, {From: filled, To: filled + 5}},
	} {
		p := position(t, b, g, "orders", 0)
		if got := freeOf(p, filled+5); !slices.Equal(got, want) {
			t.Errorf("%s: %v is free, not %v", g, got, want)
		}
	}
	if c, _ := b.CommittedOffset("beyond", "orders", 0); c.Offset != filled || c.LeaderEpoch != group.NoEpoch || c.Metadata != "" {
		t.Errorf("others see %+v", c)
	}
	if lines := book.Lines("level=WARN", "group=beyond", "topic=orders", "partition=0", fmt.Sprint("position=", filled+100), fmt.Sprint("end=", filled)); len(lines) != 1 {
		t.Errorf("%q", book.Lines())
	}
	if n := len(book.Lines("beyond the end")); n != 5 {
		t.Errorf("%d are said to be beyond: %q", n, book.Lines())
	}
	publish(t, mustMake(t, b, "orders").Partitions()[0], time.Now(), 5, 10)
	b = reopened(t, b, s) // it is kept
	defer mustClose(t, b)
	if n := len(book.Lines("beyond the end")); n != 5 {
		t.Errorf("they are set back again: %q", book.Lines())
	}
	if c := position(t, b, "beyond", "orders", 0).Committed(); c != filled {
		t.Errorf("after another restart it is at %d", c)
	}
}

// freeOf are the spans below end that nobody holds. It takes them.
func freeOf(p *group.Position, end int64) (all []group.Span) {
	var m group.Member
	for {
		s, _ := p.Free(end, time.Now())
		if s.Len() == 0 || !m.Lease(p, s, 0) {
			m.Release()
			return all
		}
		all = append(all, s)
	}
}

// A Kafka client may commit what it likes. When lines use the group then, that counts up
// to the end.
func TestAPositionSetBeyondTheEndSkipsNothingThatComes(t *testing.T) {
	book, log := newLog()
	b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Log: log}})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	publish(t, topic.Partitions()[0], time.Now(), 5, 10)
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 100, LeaderEpoch: group.NoEpoch, Metadata: "mine"})
	if c, _ := b.CommittedOffset("billing", "orders", 0); c.Offset != 100 || c.Metadata != "mine" {
		t.Errorf("as in Kafka it is what was committed, not %+v", c)
	}
	p := position(t, b, "billing", "orders", 0)
	publish(t, topic.Partitions()[0], time.Now(), 3, 10)
	if got := freeOf(p, 8); !slices.Equal(got, []group.Span{{From: 5, To: 8}}) {
		t.Errorf("%v is free", got)
	}
	mustSync(t, b)
	if c, _ := b.CommittedOffset("billing", "orders", 0); c.Offset != 5 || c.Metadata != "" {
		t.Errorf("others see %+v", c)
	}
	if lines := book.Lines("level=WARN", "group=billing", "topic=orders", "position=100", "end=5"); len(lines) != 1 {
		t.Errorf("%q", book.Lines())
	}
}

func TestAPositionInAPartitionThatIsNotThereIsKeptAndSkipsNothingWhenItIs(t *testing.T) {
	book, log := newLog()
	s := setup{dir: t.TempDir(), options: broker.Options{Log: log}}
	fillPositionsLog(t, s, func(b *batch.Builder) {
		for partition := range 3 {
			b.Add(0, group.Key{Group: "billing", Topic: "orders", Partition: partition}.AppendKey(nil), group.State{Offset: 7}.AppendValue(nil, 0))
		}
	})
	b := mustOpen(t, s)
	if lines := book.Lines("level=WARN", "partitions that the topic does not have", "topic=orders", "positions=2"); len(lines) != 1 {
		t.Errorf("%q", book.Lines())
	}
	if c, ok := b.CommittedOffset("billing", "orders", 2); !ok || c.Offset != 7 {
		t.Errorf("it is %+v, %v", c, ok)
	}
	if err := b.AddPartitions("orders", 2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if c, ok := b.CommittedOffset("billing", "orders", 1); !ok || c.Offset != 0 {
			t.Errorf("in the partition that was added it is %+v, %v", c, ok)
		}
		b = reopened(t, b, s)
	}
	mustClose(t, b)
}
