package broker_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A keeping is a broker with ten days of messages, ten a day, that are kept for a week,
// and for thirty days if they are not consumed.
type keeping struct {
	*bus
	t     *testing.T
	s     setup
	topic *broker.Topic
	book  *brokertest.LogBook
}

func keepingBroker(t *testing.T, options broker.Options, configs ...string) *keeping {
	t.Helper()
	k := &keeping{t: t}
	k.book, options.Log = newLog()
	options.Retention = 7 * day
	if options.RetentionUnread == 0 {
		options.RetentionUnread = 30 * day
	}
	k.s = setup{dir: t.TempDir(), log: segments, wrap: byClock(new(atomic.Int64)), options: options}
	k.bus = mustOpen(t, k.s)
	t.Cleanup(func() { mustClose(t, k.bus) })
	k.topic = mustMake(t, k.bus, "orders")
	configure(t, k.bus, "orders", configs...)
	days(t, k.topic, 10)
	return k
}

// reopen ends the broker and starts it again.
func (k *keeping) reopen() {
	k.t.Helper()
	mustClose(k.t, k.bus)
	k.bus = mustOpen(k.t, k.s)
	k.topic = mustMake(k.t, k.bus, "orders")
}

// leased has a group that leases messages consume all below offset.
func (k *keeping) leased(groupName string, offset int64) {
	k.t.Helper()
	p := position(k.t, k.bus, groupName, "orders", 0)
	defer p.Close()
	if p.Committed() < offset {
		consume(k.t, p, p.Committed(), offset)
	}
}

// committed has a Kafka client commit.
func (k *keeping) committed(groupName string, offset int64) {
	k.t.Helper()
	done := make(chan []error, 1)
	k.CommitOffsets(groupName, []group.Commit{{Topic: "orders", Offset: offset, LeaderEpoch: group.NoEpoch}}, func(errs []error) { done <- errs })
	if err := errors.Join(<-done...); err != nil {
		k.t.Fatal(err)
	}
}

// mustKeep says from where on messages are left so many days after the first.
func (k *keeping) mustKeep(days int, want int64) {
	k.t.Helper()
	retain(k.t, k.bus, newYear.Add(time.Duration(days)*day+time.Hour))
	mustStart(k.t, k.topic, want)
}

// mustLose says how many messages a group has lost.
func (k *keeping) mustLose(groupName string, want int64) {
	k.t.Helper()
	for _, n := range k.Positions(groupName) {
		if n.Lost != want {
			k.t.Errorf("group %q has lost %d messages, not %d", groupName, n.Lost, want)
		}
	}
	if n := len(k.book.Lines("level=WARN", "not consumed", "-GAP", "group="+groupName, "topic=orders", "partition=0")); n > 0 != (want > 0) {
		k.t.Errorf("it was said %d times that group %q loses messages", n, groupName)
	}
}

func TestWhatAGroupThatLeasesHasNotConsumedIsKeptLonger(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	k.leased("default", 50)
	k.leased("billing", 30)
	k.mustKeep(20, 30)
	k.leased("billing", 70)
	k.mustKeep(20, 50)
	k.mustLose("billing", 0)
	k.reopen()
	k.mustKeep(20, 50)
	k.mustKeep(38, 90) // the rest of these days is older than 30 days
	k.mustLose("default", 40)
	k.mustLose("billing", 20)
	k.mustKeep(39, 100)
	k.mustLose("default", 50)
	k.mustLose("billing", 30)
	k.mustKeep(39, 100)
	k.mustLose("default", 50) // counted once
}

func TestWhatNobodyOrOnlyAKafkaGroupReadsGoesByAge(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	k.mustKeep(11, 50)
	k.committed("kafka", 60)
	k.mustKeep(13, 70)
	k.reopen()
	k.mustKeep(14, 80)
	k.mustLose("kafka", 0) // it goes by its auto.offset.reset
}

// A group holds messages back while it leases them, and no longer.
func TestAGroupThatIsUsedInAnotherWayHoldsBackAsThatDoes(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	k.committed("both", 10)
	k.mustKeep(9, 30)
	k.leased("both", 40)
	k.reopen()
	k.mustKeep(15, 40)
	k.committed("both", 45)
	k.reopen()
	k.mustKeep(15, 90)
}

// The first message that a consumer of lines holds makes the group one that leases.
func TestAGroupOfKafkaClientsThatLeasesHoldsBackWhatItHasNotConsumed(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	k.committed("both", 10)
	p := position(t, k.bus, "both", "orders", 0)
	defer p.Close()
	var m group.Member
	if !m.Lease(p, group.Span{From: 10, To: 20}, 0) {
		t.Fatal("they are not free")
	}
	k.mustKeep(15, 10)
	m.Release()
	k.mustKeep(15, 90)
}

// A group may be of one kind in one partition and of the other in the next.
func TestAGroupHoldsBackThePartitionsThatItLeases(t *testing.T) {
	k := keepingBroker(t, broker.Options{Partitions: 3})
	logs := k.topic.Partitions()
	for i := range 10 {
		for _, log := range logs[1:] {
			publish(t, log, newYear.Add(time.Duration(i)*day), 10, 350)
		}
	}
	k.leased("both", 10)
	consume(t, position(t, k.bus, "both", "orders", 1), 0, 10)
	k.committed("both", 50)
	for range 2 {
		k.mustKeep(15, 90)
		if start, _ := k.topic.Partitions()[1].Offsets(); start != 10 {
			t.Errorf("partition 1, which it leases, starts at %d", start)
		}
		if start, _ := k.topic.Partitions()[2].Offsets(); start != 0 {
			t.Errorf("partition 2, where it has nothing yet, starts at %d", start)
		}
		k.reopen()
	}
}

func TestAResetLeavesAGroupOfItsKind(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	k.leased("lines", 90)
	k.committed("kafka", 90)
	for _, name := range []string{"lines", "kafka", "new"} {
		offset := int64(20)
		if name == "new" {
			offset = 60 // as one of consumers of lines
		}
		if err := k.ResetOffsets(name, k.topic, []int64{offset}); err != nil {
			t.Fatal(err)
		}
	}
	k.reopen()
	k.mustKeep(15, 20)
	k.leased("lines", 90)
	k.mustKeep(15, 60)
}

// A partition in which the group had nothing yet is of the kind of the others.
func TestAResetOfNewPartitionsLeavesTheGroupOfItsKind(t *testing.T) {
	k := keepingBroker(t, broker.Options{Partitions: 2})
	for i := range 10 {
		publish(t, k.topic.Partitions()[1], newYear.Add(time.Duration(i)*day), 10, 350)
	}
	k.committed("kafka", 90)
	if err := k.ResetOffsets("kafka", k.topic, []int64{0, 0}); err != nil {
		t.Fatal(err)
	}
	k.mustKeep(15, 90)
	if start, _ := k.topic.Partitions()[1].Offsets(); start != 90 {
		t.Errorf("partition 1 starts at %d", start)
	}
}

// A consumer that is connected and has acknowledged nothing yet is about to read the messages.
func TestAConsumerThatHasAcknowledgedNothingHoldsMessagesBack(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	p := position(t, k.bus, "new", "orders", 0)
	p.Start(20, false)
	k.mustKeep(15, 20)
	p.Close()
	k.mustKeep(15, 90)
}

func TestNewPartitionsAreHeldBackByThoseWhoLease(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	k.leased("lines", 10)
	k.committed("kafka", 10)
	if err := k.AddPartitions("orders", 2); err != nil {
		t.Fatal(err)
	}
	mustSync(t, k.bus)
	for _, e := range k.Unread("orders") {
		if e.Group != "lines" {
			t.Errorf("group %q holds back partition %d", e.Group, e.Partition)
		}
	}
}

func TestHowLongUnreadMessagesAreKeptIsTheTopics(t *testing.T) {
	const unread = broker.ConfigRetentionUnread
	of := func(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
	for name, c := range map[string]struct {
		options broker.Options
		configs []string
		starts  map[int]int64 // by day
	}{
		"of the broker":                   {broker.Options{}, nil, map[int]int64{20: 10, 36: 70}},
		"none":                            {broker.Options{RetentionUnread: -1}, nil, map[int]int64{9: 30}},
		"less than that of all":           {broker.Options{RetentionUnread: day}, nil, map[int]int64{9: 30}},
		"of the topic":                    {broker.Options{}, []string{unread, of(20 * day)}, map[int]int64{20: 10, 26: 70}},
		"of the topic none":               {broker.Options{}, []string{unread, "0"}, map[int]int64{9: 30}},
		"of the topic, the broker's none": {broker.Options{RetentionUnread: -1}, []string{unread, of(20 * day)}, map[int]int64{20: 10, 26: 70}},
		"for ever":                        {broker.Options{}, []string{unread, "-1"}, map[int]int64{10_000: 10}},
		"and the topic's own age":         {broker.Options{}, []string{broker.ConfigRetention, of(day)}, map[int]int64{20: 10, 36: 70}},
		"and all is kept for ever":        {broker.Options{}, []string{broker.ConfigRetention, "-1"}, map[int]int64{10_000: 0}},
		"longer than there are dates":     {broker.Options{}, []string{unread, fmt.Sprint(1<<63 - 1)}, map[int]int64{10_000: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			k := keepingBroker(t, c.options, c.configs...)
			k.leased("default", 10)
			for days := range 10_001 {
				if want, ok := c.starts[days]; ok {
					k.mustKeep(days, want)
				}
			}
		})
	}
}

// Retention by size also removes unconsumed messages, and reports them.
func TestWhatGoesBySizeIsCountedAsLost(t *testing.T) {
	k := keepingBroker(t, broker.Options{RetentionBytes: 16 << 10})
	k.leased("default", 10)
	retain(t, k.bus, newYear)
	start, _ := k.topic.Partitions()[0].Offsets()
	k.mustLose("default", start-10)
}

// A segment ends by age, so that what is published now and then goes, too.
func TestAgeHoldsForATopicThatIsNotBusy(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), wrap: atTheirTime})
	defer mustClose(t, b)
	topic, err := b.CreateTopic("sessions", 1, map[string]string{broker.ConfigRetention: fmt.Sprint(time.Hour.Milliseconds())})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		at := newYear.Add(time.Duration(i+1) * 12 * time.Hour)
		publish(t, topic.Partitions()[0], at, 1, 100)
		retain(t, b, at)
		mustStart(t, topic, int64(i))
	}
}

// ... and for one that is published to all the time.
func TestAgeHoldsForATopicThatIsNeverQuiet(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), wrap: atTheirTime, options: broker.Options{Retention: 8 * time.Hour}})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	for i := range 24 * 6 { // each ten minutes
		publish(t, topic.Partitions()[0], newYear.Add(time.Duration(i)*10*time.Minute), 1, 100)
	}
	retain(t, b, newYear.Add(24*time.Hour))
	if start, high := topic.Partitions()[0].Offsets(); high-start < 8*6 || high-start > 9*6+2 {
		t.Errorf("%d messages are left, 6 an hour, which are kept for 8 hours", high-start)
	}
}

func TestSmallSizesHold(t *testing.T) {
	for _, bound := range []int64{1 << 20, 16 << 20} {
		b := mustOpen(t, setup{disk: crashfs.New(), log: commitlog.Options{}, options: broker.Options{RetentionBytes: 1 << 40}})
		topic := mustMake(t, b, "orders")
		configure(t, b, "orders", broker.ConfigRetentionBytes, fmt.Sprint(bound))
		for range 64 {
			publish(t, topic.Partitions()[0], newYear, 1, 1<<20)
		}
		b.Retain(newYear)
		if size := topic.Partitions()[0].Size(); size > bound+bound/8+2<<20 || size < bound/2 {
			t.Errorf("%d MiB are asked for, and %d kept", bound>>20, size>>20)
		}
		mustClose(t, b)
	}
}

// The broker looks by itself, as often as a topic's retention asks for, and at once for
// one that has been given another.
func TestShortRetentionsHoldByThemselves(t *testing.T) {
	brokertest.Slow(t)
	b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Retention: 30 * day}})
	defer mustClose(t, b)
	short, err := b.CreateTopic("short", 1, map[string]string{broker.ConfigRetention: "100"})
	if err != nil {
		t.Fatal(err)
	}
	later := mustMake(t, b, "later")
	for _, topic := range []*broker.Topic{short, later} {
		publish(t, topic.Partitions()[0], time.Now(), 1, 10)
	}
	gone := func(topic *broker.Topic) func() bool {
		return func() bool { start, _ := topic.Partitions()[0].Offsets(); return start == 1 }
	}
	await(t, "it is gone", gone(short))
	mustStart(t, later, 0)
	configure(t, b, "later", broker.ConfigRetention, "100")
	await(t, "the other one is gone, too", gone(later))
}

// A group that reads a topic reads all of its partitions, also those of which it has had
// nothing yet.
func TestAGroupHoldsBackPartitionsThatItHasNoPositionIn(t *testing.T) {
	k := keepingBroker(t, broker.Options{})
	if err := k.AddPartitions("orders", 2); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		publish(t, k.topic.Partitions()[1], newYear.Add(time.Duration(i)*day), 10, 350)
	}
	k.leased("default", 100)
	k.committed("kafka", 100)
	starts := func(want int64) {
		t.Helper()
		if start, _ := k.topic.Partitions()[1].Offsets(); start != want {
			t.Errorf("partition 1 starts at %d, not %d", start, want)
		}
	}
	k.mustKeep(15, 90)
	starts(0)
	k.reopen()
	k.mustKeep(39, 100)
	starts(100)
	for _, n := range k.Positions("default") {
		if n.Partition == 1 && (n.Lost != 100 || n.Committed != 0) { // below the log start: it gets -GAP
			t.Errorf("%+v", n)
		}
	}
	if n := len(k.Positions("default")); n != 2 {
		t.Errorf("there are %d positions", n)
	}
	if lines := k.book.Lines("level=WARN", "not consumed", "group=kafka"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}
