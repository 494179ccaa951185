package delivery

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/units"
	"mbus/test/brokertest"
)

// numbers are n messages.
func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("message ", i)
	}
	return all
}

func TestADrainGetsWhatTheGroupHasNotConsumed(t *testing.T) {
	b := start(t, 1)
	b.mustDrain("orders") // there is none
	b.publish("orders", "first", "second")
	b.mustDrain("orders", "first", "second")
	b.publish("orders", "third")
	b.mustDrain("orders", "third")
	b.restart()
	b.mustDrain("orders")
}

func TestADrainThatDoesNotCompleteConsumesNothing(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	for _, why := range []Reason{Stopping, Lost} {
		r := b.reader("orders", Options{})
		r.must(r.Drain())
		r.mustGet("first", "second")
		r.must(r.Close(why))
	}
	b.mustDrain("orders", "first", "second")
}

func TestABrokenTransportEndsASession(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first")
	broken := errors.New("the connection is broken")
	r := b.reader("orders", Options{})
	r.sink.broken = broken
	if err := r.Drain(); err != broken {
		t.Errorf("a drain ended with %v", err)
	}
	r.must(r.Close(Lost))
	w := b.reader("orders", Options{Ack: true, Follow: true})
	w.sink.broken = broken
	w.started().mustEnd(broken)
	w.must(w.Close(Lost)) // which counts an attempt
	r = b.reader("orders", Options{Ack: true, Follow: true, Retry: group.Retry{Backoff: time.Millisecond, Bound: time.Millisecond}})
	r.started().mustGetNothing()
}

func TestWithoutFollowASessionEndsWithTheTopic(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", numbers(6)...)
	r := b.reader("orders", Options{Ack: true, Window: 4}).started()
	r.mustGet(numbers(4)...)
	r.mustGetNothing()
	r.must(r.Ack(4))
	r.mustGet(numbers(6)[4:]...)
	r.mustEnd(io.EOF)
	r.must(r.Ack(5))
	r.must(r.Close(Complete))
	b.mustDrain("orders", "message 5")
}

func TestWhatASessionThatLeavesHadGoesToOthersAndHasNotFailed(t *testing.T) {
	for _, why := range []Reason{Left, Complete, Stopping} {
		b := start(t, 1)
		b.publish("orders", "first", "second")
		r := b.worker("orders", Options{})
		r.mustGet("first", "second")
		other := b.worker("orders", Options{})
		r.must(r.Close(why))
		r.must(r.Close(Lost)) // too late
		other.mustGet("first", "second")
	}
}

// At a stop each client can still acknowledge what it has: nobody else gets that before the
// next start.
func TestNothingGoesToOthersWhileTheHubStops(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		b := start(t, 1)
		b.publish("orders", "first", "second")
		r := b.worker("orders", Options{Ordered: ordered})
		r.mustGet("first", "second")
		other := b.worker("orders", Options{Ordered: ordered})
		other.mustGetNothing()
		b.hub.Stop()
		r.must(r.Close(Stopping))
		other.mustGetNothing()
		other.must(other.Close(Left))
		b.restart()
		b.mustDrain("orders", "first", "second")
	}
}

func TestAMessageWakesOneOfThoseThatWait(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first")
	x, y := b.worker("orders", Options{Window: 1}), b.worker("orders", Options{Window: 1})
	brokertest.Await(t, patience, "one of them gets it", func() bool { return x.got()+y.got() == 1 })
	if y.got() == 1 {
		x, y = y, x
	}
	x.mustGet("first")
	b.publish("orders", "second")
	y.mustGet("second")
	b.publish("orders", "third")
	y.must(y.Ack(1))
	y.mustGet("third")
	x.mustGetNothing()
}

// A stalled reader's session has given up its batches when the Sink waits, and goes on where
// it was.
func TestAStalledReaderHoldsNoBatch(t *testing.T) {
	for _, o := range []Options{{}, {Ack: true, Follow: true, Window: 1000}, {Ack: true, Follow: true, Ordered: true}} {
		b := start(t, 1)
		var messages, keyed []string
		for i := range 100 {
			messages, keyed = append(messages, fmt.Sprint(i)), append(keyed, fmt.Sprint("key=", i))
		}
		for batch := range slices.Chunk(keyed, 40) {
			b.publish("orders", batch...)
		}
		r := b.reader("orders", o)
		stalls := 0
		r.sink.onFlush = func(onStall func()) {
			if stalls++; stalls%3 == 0 {
				return
			}
			onStall()
			if r.sender.messages.Batch != nil || r.sender.loader.buf != nil || r.sender.loader.loaded != nil || len(b.hub.loads) > 0 || len(b.hub.slots.taken) > 0 {
				t.Error("it holds a batch")
			}
		}
		if !o.Follow {
			r.must(r.Drain())
			r.mustGet(messages...)
			continue
		}
		r.started()
		if !o.Ordered {
			r.mustGet(messages...)
			continue
		}
		for i := range messages {
			r.mustGet(messages[i])
			r.must(r.Ack(uint64(i) + 1))
		}
	}
}

func TestAGapEndsASessionAndIsReportedOnce(t *testing.T) {
	for name, why := range map[string]Reason{"known": Complete, "unknown": Stopping} {
		t.Run(name, func(t *testing.T) {
			b := start(t, 1)
			b.publish("orders", "first")
			b.worker("orders", Options{}).Close(Left) // the group begins
			b.publish("orders", "second")
			p := mustTopic(t, b).Partitions()[0]
			if err := p.Trim(1); err != nil {
				t.Fatal(err)
			}
			r := b.reader("orders", Options{})
			if err := r.Drain(); !errors.Is(err, ErrGap) || err.Error() != "first=1 partition=0: the messages below offset 1 are gone, removed by retention or lost" {
				t.Fatalf("it ended with %v", err)
			}
			if r.IsSettled() {
				t.Error("nothing depends on whether the client learns of it")
			}
			r.must(r.Close(why))
			if why == Complete {
				b.mustDrain("orders", "second")
				return
			}
			again := b.worker("orders", Options{})
			again.mustEnd(ErrGap)
		})
	}
}

func mustTopic(t *testing.T, b *bus) *broker.Topic {
	t.Helper()
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func TestAReplayMovesNoPosition(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", numbers(4)...)
	b.mustDrain("orders", numbers(4)...)
	r := b.reader("orders", Options{From: &units.Position{Offset: -2}})
	r.must(r.Drain())
	r.mustGet("message 2", "message 3")
	if !r.IsSettled() {
		t.Error("something depends on whether the client has read it")
	}
	f := b.reader("orders", Options{From: &units.Position{Offset: 1}, Follow: true, N: 4}).started()
	f.mustGet(numbers(4)[1:]...)
	b.publish("orders", "fifth", "sixth")
	f.mustGet("fifth")
	f.mustEnd(io.EOF)
	late := b.reader("orders", Options{From: &units.Position{Offset: 99}})
	if err := late.Drain(); !errors.Is(err, ErrPosition) {
		t.Errorf("behind the end: %v", err)
	}
	if n := b.committed(group.Default, "orders"); n != 4 {
		t.Errorf("the group's position is %d", n)
	}
}

func TestOfSomePartitionsNothingElseIsSent(t *testing.T) {
	b := start(t, 3)
	all := make(map[int][]string) // by partition
	for i := range 12 {
		key := fmt.Sprint("key", i)
		p := broker.ForKey([]byte(key), 3)
		all[p] = append(all[p], key)
		b.publish("orders", key+"="+key)
	}
	some := append(slices.Clone(all[0]), all[2]...)
	drained := func(o Options) []string {
		r := b.reader("orders", o)
		r.must(r.Drain())
		r.must(r.Close(Complete))
		return r.sink.lines
	}
	if got := drained(Options{Partitions: []int{0, 2}, From: &units.Position{Offset: units.Beginning}}); !slices.Equal(got, some) {
		t.Errorf("a replay gets %q, not %q", got, some)
	}
	if got := drained(Options{Partitions: []int{0, 2}}); !slices.Equal(got, some) {
		t.Errorf("a drain gets %q, not %q", got, some)
	}
	r := b.worker("orders", Options{Partitions: []int{2}, Window: 1}) // a window goes by turns
	r.mustGetNothing()
	if err := b.broker.AddPartitions("orders", 8); err != nil {
		t.Fatal(err)
	}
	r.mustGetNothing()
	for i := range 24 {
		key := fmt.Sprint("new", i)
		if p := broker.ForKey([]byte(key), 8); p != 1 && p != 2 {
			b.publish("orders", key+"="+key)
		}
	}
	r.mustGetNothing()
	r.must(r.Close(Left))
	if got := drained(Options{Partitions: []int{1}}); !slices.Equal(got, all[1]) {
		t.Errorf("of the partition that was left out come %q, not %q", got, all[1])
	}
	if err := b.reader("orders", Options{Partitions: []int{1, 8}}).Drain(); !errors.Is(err, ErrPosition) {
		t.Errorf("of a partition that the topic does not have: %v", err)
	}
}

func TestASessionThatWaitsGetsATopicThatIsMadeAndGrows(t *testing.T) {
	b := start(t, 1)
	r := b.worker("orders", Options{})
	r.mustGetNothing()
	b.publish("orders", "first")
	r.mustGet("first")
	if err := b.broker.AddPartitions("orders", 2); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		b.publish("orders", fmt.Sprintf("key%d=%d", i, i))
	}
	r.sink.await(t, func() bool { return len(r.sink.lines) == 9 })
}

// Whatever a session waits for, the deletion of its topic ends it.
func TestADeletionEndsSessions(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	waits := b.reader("orders", Options{Follow: true, Group: "idle"}).started()
	waits.mustGet("first", "second")
	full := b.worker("orders", Options{Window: 1})
	full.mustGet("first")
	replay := b.reader("orders", Options{From: &units.Position{Offset: units.End}, Follow: true}).started()
	replay.mustGetNothing()
	drained := make(chan error, 1)
	drain := b.reader("orders", Options{}) // waits for what full holds
	go func() { drained <- drain.Drain() }()
	drain.mustGet("second")
	if err := b.broker.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*reader{waits, full, replay} {
		r.mustEnd(broker.ErrDeleted)
		r.must(r.Close(Complete))
	}
	brokertest.Within(t, patience, "the drain ends", func() {
		if err := <-drained; !errors.Is(err, broker.ErrDeleted) {
			t.Errorf("the drain ended with %v", err)
		}
	})
	b.publish("orders", "another")
	b.mustDrain("orders", "another")
}

func TestADrainWaitsForWhatOthersHold(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	holds := b.worker("orders", Options{Window: 1})
	holds.mustGet("first")
	r := b.reader("orders", Options{})
	drained := make(chan error, 1)
	go func() { drained <- r.Drain() }()
	r.mustGet("second")
	holds.must(holds.Close(Left))
	r.mustGet("first")
	r.must(<-drained)
	r.must(r.Close(Complete))
	b.mustDrain("orders")
}

func TestWithoutAckWhatTheClientsSystemReceivedIsConsumed(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	r := b.reader("orders", Options{Follow: true}).started()
	r.mustGet("first", "second")
	brokertest.Await(t, patience, "it is consumed", func() bool { return b.committed(group.Default, "orders") == 2 })
	r.must(r.Close(Left))
	b.restart()
	b.mustDrain("orders")
}

func TestASessionWhoseClientMayBeGoneYieldsToOthers(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first")
	r := b.reader("orders", Options{Follow: true}).started()
	r.mustGet("first")
	brokertest.Await(t, patience, "it is consumed", func() bool { return b.committed(group.Default, "orders") == 1 })
	r.ClientMayBeGone()
	awaitIdle(&r.pump)
	b.worker("orders", Options{Ordered: true})
	r.mustEnd(ErrWanted)
}

func TestARedriveGivesLettersBack(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "bad", "good", "worse")
	r := b.worker("orders", Options{})
	r.mustGet("bad", "good", "worse")
	for _, n := range []uint64{1, 3} {
		r.must(r.Nack(n, Failure{Dead: true}))
	}
	r.must(r.Ack(3))
	r.must(r.Close(Left))
	const letters = "orders.dlq"
	o := Options{View: b.broker.View, Topic: letters, Group: broker.RedriveGroup, Find: func() (*broker.Topic, error) { return b.broker.Topic(letters) }}
	for i, n := range []uint64{2, 0} {
		var counted uint64
		done, err := b.hub.Redrive(o, false, func(moved uint64) error {
			counted = moved
			return nil
		})
		if err != nil || done.Err() != nil || done.Moved != n || counted != n || done.Stays.Total() != 0 {
			t.Errorf("redrive %d: %+v, counted %d, %v", i, done, counted, err)
		}
	}
	b.mustDrain("orders", "bad", "worse")
}
