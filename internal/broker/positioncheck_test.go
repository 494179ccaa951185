package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// verifyPositions is broker -verify of a disk, as far as positions go.
func verifyPositions(t testing.TB, disk *crashfs.FS) (found []string) {
	t.Helper()
	var check broker.PositionCheck
	look := commitlog.Observer{Topic: broker.PositionsTopic, Batch: check.Batch, Topics: func(all []commitlog.Checked, deleted func([16]byte) bool) {
		topics, ends := make([]store.Topic, len(all)), make([][]int64, len(all))
		for i, c := range all {
			topics[i], ends[i] = c.Topic, c.Ends
		}
		for _, f := range check.Compare(topics, ends, deleted) {
			found = append(found, fmt.Sprintf("%s/%d %d-%d %v", f.Topic, f.Partition, f.First, f.Next, f.Reason))
		}
	}}
	if _, err := commitlog.VerifyAnd("/data", commitlog.Options{FS: disk}, look, func(commitlog.Finding) {}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestVerifyFindsPositionsThatDoNotFitTheirTopics(t *testing.T) {
	key := func(topic string, partition int) []byte {
		return group.Key{Group: "billing", Topic: topic, Partition: partition}.AppendKey(nil)
	}
	state := func(b *bus, topic string, offset int64, beyond ...group.Span) []byte {
		return group.State{TopicID: mustHave(t, b, topic).ID, Offset: offset, AckedAhead: beyond}.AppendValue(nil, 0)
	}
	for name, test := range map[string]struct {
		spoil func(*bus, *batch.Builder) // adds positions
		after func(*crashfs.FS)
		want  []string // parts of the findings
	}{
		"sound": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", 5, group.Span{From: 7, To: filled}))
			out.Add(0, key("stock", 0), state(b, "stock", 0))
			out.Add(0, key("stock", 0), nil)
		}, nil, nil},
		"beyond the end": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", filled+7))
			out.Add(0, key("stock", 0), state(b, "stock", 5))
		}, nil, []string{fmt.Sprintf(`orders/0 %d-%d the position of group "billing" is beyond the end`, filled, filled+7), "stock/0 0-5 "}},
		"set back later": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", filled+7))
			out.Add(0, key("orders", 0), state(b, "orders", filled))
		}, nil, nil},
		"spans beyond the end": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", 1, group.Span{From: 5, To: filled + 2}))
		}, nil, []string{fmt.Sprintf("orders/0 %d-%d ", filled, filled+2)}},
		"a partition too many": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 3), state(b, "orders", 0))
		}, nil, []string{"orders/3 0-0 group \"billing\" has a position in it, and the topic has 1 partitions"}},
		"another topic's": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "stock", 0))
		}, nil, []string{"orders/-1 0-0 ", "another topic has its name"}},
		"a deleted topic's": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", 0))
			if err := b.DeleteTopic("orders"); err != nil {
				t.Error(err)
			}
		}, nil, nil},
		"no record of a position": {func(b *bus, out *batch.Builder) {
			out.Add(0, []byte("no key"), nil)
			out.Add(0, key("orders", 0), []byte("no value"))
		}, nil, []string{"__consumer_offsets/0 ", "not a position's record"}},
		"a topic that the catalog knows": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", 0))
		}, func(disk *crashfs.FS) {
			_ = disk.Rename("/data/topics/orders", "/data/lost") // the store reports that
		}, nil},
		"a topic that nobody knows": {func(b *bus, out *batch.Builder) {
			out.Add(0, key("orders", 0), state(b, "orders", 0))
		}, func(disk *crashfs.FS) {
			_ = disk.Rename("/data/topics/orders", "/data/lost")
			_ = disk.Remove("/data/catalog")
		}, []string{`orders/-1 0-0 group "billing" has a position in the topic with id`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup{disk: crashfs.New()}
			b := mustOpen(t, s)
			mustFill(t, b, "orders")
			mustMake(t, b, "stock")
			mustCommit(t, b, "billing", group.Commit{Topic: "stock"}) // makes the positions' topic
			var out batch.Builder
			test.spoil(b, &out)
			out.Close(0)
			if _, err := mustHave(t, b, broker.PositionsTopic).Partitions()[0].AppendAndWait(out.Bytes()); err != nil {
				t.Fatal(err)
			}
			mustClose(t, b)
			if test.after != nil {
				test.after(s.disk)
			}
			found := strings.Join(verifyPositions(t, s.disk), "\n")
			for _, want := range test.want {
				if !strings.Contains(found, want) {
					t.Errorf("found %q, not %q", found, want)
				}
			}
			if len(test.want) == 0 && found != "" {
				t.Errorf("found %q", found)
			}
			if test.after != nil {
				return
			}
			mustClose(t, mustOpen(t, s)) // the start puts right what it can
			found = strings.Join(verifyPositions(t, s.disk), "\n")
			if strings.Contains(found, "beyond the end") || strings.Contains(found, "another topic") {
				t.Errorf("after a start: %q", found)
			}
		})
	}
}

// A group whose position may be lost may have leased messages: they are kept as long as for
// one whose position says so.
func TestRetentionKeepsWhatAGroupMayNotHaveConsumedWhosePositionIsLost(t *testing.T) {
	s := setup{disk: crashfs.New(), log: segments, options: broker.Options{Retention: 7 * day, RetentionUnread: 30 * day}}
	b := mustOpen(t, s)
	publish(t, mustMake(t, b, "orders").Partitions()[0], time.Now(), 1, 10)
	consume(t, position(t, b, "billing", "orders", 0), 0, 1)
	mustClose(t, b)
	flip(t, s.disk, positionsLog, 80)
	b = mustOpen(t, s)
	defer mustClose(t, b)
	publish(t, mustMake(t, b, "later").Partitions()[0], time.Now(), 1, 10)
	start := func(topic string, after time.Duration) int64 {
		b.Retain(time.Now().Add(after))
		start, _ := offsets(t, b, topic)
		return start
	}
	got := []int64{start("orders", 8*day), start("later", 8*day), start("orders", 31*day)}
	if !slices.Equal(got, []int64{0, 1, 1}) {
		t.Errorf("log starts %v", got)
	}
}
