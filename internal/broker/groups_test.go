package broker_test

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
)

// reopened closes a broker and opens it again.
func reopened(t testing.TB, b *bus, s setup) *bus {
	t.Helper()
	mustClose(t, b)
	return mustOpen(t, s)
}

func mustCommit(t testing.TB, b *bus, groupName string, commits ...group.Commit) {
	t.Helper()
	done := make(chan []error, 1)
	b.CommitOffsets(groupName, commits, func(errs []error) { done <- errs })
	for _, err := range <-done {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCommittedOffsetsAreThoseThatWereCommitted(t *testing.T) {
	s := setup{dir: t.TempDir(), options: broker.Options{Partitions: 2}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	mustFill(t, b, "stock")
	want := []group.Commit{
		{Topic: "orders", Partition: 0, Offset: 7, LeaderEpoch: 3, Metadata: "of a client"},
		{Topic: "orders", Partition: 1, Offset: 9, LeaderEpoch: group.NoEpoch},
		{Topic: "stock", Partition: 0, Offset: 0, LeaderEpoch: group.NoEpoch},
	}
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 100})
	mustCommit(t, b, "billing", want...) // in any direction
	consume(t, position(t, b, "another", "orders", 0), 0, 5)
	for range 2 {
		if got := b.CommittedOffsets("billing"); !slices.Equal(got, want) {
			t.Errorf("%+v, not %+v", got, want)
		}
		if got, ok := b.CommittedOffset("billing", "orders", 0); !ok || got != want[0] {
			t.Errorf("%+v, %v", got, ok)
		}
		if got, ok := b.CommittedOffset("billing", "stock", 1); ok {
			t.Errorf("of what was never committed there is %+v", got)
		}
		if names := groupNames(b); !slices.Equal(names, []string{"another", "billing"}) {
			t.Errorf("groups %q", names)
		}
		b = reopened(t, b, s)
	}
	mustClose(t, b)
}

func TestAGroupHasOnePositionWhicheverWayItReads(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	p := position(t, b, "billing", "orders", 0)
	defer p.Close()
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 7})
	if p.Committed() != 7 {
		t.Errorf("a commit of 7 is %d", p.Committed())
	}
	consume(t, p, 7, 9)
	mustSync(t, b)
	if c, _ := b.CommittedOffset("billing", "orders", 0); c.Offset != 9 {
		t.Errorf("what was consumed up to 9 is committed at %d", c.Offset)
	}
}

func TestDeletedOffsetsStayDeleted(t *testing.T) {
	s := setup{dir: t.TempDir(), options: broker.Options{Partitions: 2}}
	b := mustOpen(t, s)
	for _, topic := range []string{"orders", "stock"} {
		mustMake(t, b, topic)
		for partition := range 2 {
			consume(t, position(t, b, "billing", topic, partition), 0, 5)
			consume(t, position(t, b, "another", topic, partition), 0, 5)
		}
	}
	if err := b.DeleteOffsets("billing", map[string][]int{"orders": {1}, "stock": {0, 1}}); err != nil {
		t.Fatal(err)
	}
	b = reopened(t, b, s)
	if left := b.CommittedOffsets("billing"); len(left) != 1 || left[0].Topic != "orders" || left[0].Partition != 0 {
		t.Errorf("of some there is left %+v", left)
	}
	if err := b.DeleteOffsets("billing", nil); err != nil {
		t.Fatal(err)
	}
	b = reopened(t, b, s)
	defer mustClose(t, b)
	if names := groupNames(b); !slices.Equal(names, []string{"another"}) || len(b.CommittedOffsets("another")) != 4 {
		t.Errorf("groups %q", names)
	}
	if err := b.DeleteOffsets("billing", nil); !errors.Is(err, broker.ErrUnknownGroup) {
		t.Errorf("deleting it again: %v", err)
	}
}

func TestAGroupThatIsInUseIsNotDeleted(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	release, err := b.UseGroup("billing", broker.UseLine)
	if err != nil {
		t.Fatal(err)
	}
	var inUse *group.InUseError
	if err := b.DeleteOffsets("billing", nil); !errors.As(err, &inUse) || inUse.By != broker.UseLine {
		t.Errorf("it is: %v", err)
	}
	if _, err := b.UseGroup("billing", broker.UseKafka); !errors.As(err, &inUse) {
		t.Errorf("Kafka clients join: %v", err)
	}
	if n := len(b.Members("billing")); n != 1 {
		t.Errorf("%d members", n)
	}
	release()
	if err := b.DeleteOffsets("billing", nil); err != nil {
		t.Errorf("when all have left: %v", err)
	}
}

// While a group has a member all others find the positions that the member has.
func TestAGroupIsNotDeletedUnderAMemberThatJoins(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustFill(t, b, "orders")
	const deletions = 200
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; n < deletions; {
			err := b.DeleteOffsets("billing", nil)
			var inUse *group.InUseError
			switch {
			case err == nil:
				n++
			case !errors.Is(err, broker.ErrUnknownGroup) && !errors.As(err, &inUse):
				t.Error(err)
				return
			}
		}
	}()
	for rounds := 0; ; rounds++ {
		select {
		case <-done:
			t.Logf("%d rounds", rounds)
			return
		default:
		}
		p := position(t, b, "billing", "orders", 0) // something is kept of the group
		p.Start(5, true)
		p.Close()
		leave, err := b.UseGroup("billing", broker.UseLine)
		if err != nil {
			t.Fatalf("a deletion keeps members out: %v", err)
		}
		mine := position(t, b, "billing", "orders", 0)
		runtime.Gosched()
		others := position(t, b, "billing", "orders", 0)
		if mine != others {
			t.Fatal("the group was deleted under a member")
		}
		others.Close()
		mine.Close()
		leave()
	}
}

func TestACommitWhoseTurnIsOverLeavesNothing(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustFill(t, b, "orders")
	over := errors.New("the turn is over")
	commits := []group.Commit{{Topic: "orders", Offset: 5}}
	if err := b.View.CommitOffsets("billing", commits, func(func()) error { return over }, func([]error) { t.Error("it is answered") }); err != over {
		t.Errorf("%v", err)
	}
	mustSync(t, b)
	if all := b.Positions(""); len(all) > 0 {
		t.Errorf("there is %+v", all)
	}
}

func TestDeletedTopicTakesItsPositionsWithIt(t *testing.T) {
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	mustFill(t, b, "stock")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	consume(t, position(t, b, "billing", "stock", 0), 0, 5)
	within(t, "the topic is deleted", func() {
		if err := b.DeleteTopic("orders"); err != nil {
			t.Error(err)
		}
	})
	if _, err := b.Topic("orders"); !errors.Is(err, store.ErrUnknownTopic) {
		t.Errorf("it is still there: %v", err)
	}
	mustFill(t, b, "orders")
	for range 2 {
		if c := position(t, b, "billing", "orders", 0).Committed(); c != 0 {
			t.Errorf("in the new topic the group is at %d", c)
		}
		if c := position(t, b, "billing", "stock", 0).Committed(); c != 5 {
			t.Errorf("in the other topic the group is at %d", c)
		}
		b = reopened(t, b, s)
	}
	mustClose(t, b)
}

func TestTopicsThatCannotBeDeleted(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	mustSync(t, b)
	if err := b.DeleteTopic(broker.PositionsTopic); !errors.Is(err, broker.ErrInternalTopic) {
		t.Errorf("an internal one: %v", err)
	}
	if err := b.DeleteTopic("nothing"); !errors.Is(err, store.ErrUnknownTopic) {
		t.Errorf("an unknown one: %v", err)
	}
}

// The broker dies when the topic has been removed and its positions have not.
// They must not be those of a topic that is made later with the same name.
func TestPositionsOfATopicWhoseDeletionWasCutShortAreForgotten(t *testing.T) {
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	mustClose(t, b)
	st, err := commitlog.Open(s.dir, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	mustFill(t, b, "orders")
	for range 2 {
		if c := position(t, b, "billing", "orders", 0).Committed(); c != 0 {
			t.Errorf("in the new topic the group is at %d", c)
		}
		b = reopened(t, b, s)
	}
	mustClose(t, b)
}

func TestPositionsLogOfDeletedPositionsIsRead(t *testing.T) {
	key := func(name string) []byte { return group.Key{Group: name, Topic: "orders"}.AppendKey(nil) }
	value := func(offset int64) []byte { return group.State{Offset: offset}.AppendValue(nil, 0) }
	s := setup{dir: t.TempDir()}
	fillPositionsLog(t, s, func(b *batch.Builder) {
		b.Add(0, key("deleted"), value(5))
		b.Add(0, key("again"), value(5))
		b.Add(0, key("deleted"), nil)
		b.Add(0, key("again"), nil)
		b.Add(0, key("never was"), nil)
		b.Add(0, key("again"), value(3))
	})
	b := mustOpen(t, s)
	defer mustClose(t, b)
	got := make(map[string]int64)
	for _, name := range groupNames(b) {
		got[name] = b.CommittedOffsets(name)[0].Offset
	}
	if !maps.Equal(got, map[string]int64{"again": 3}) {
		t.Errorf("%v", got)
	}
}

func TestAttemptsAndWhatIsBeyondAreKept(t *testing.T) {
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	var m group.Member
	m.Lease(position(t, b, "billing", "orders", 0), group.Span{From: 0, To: 5}, 0)
	if _, ok, err := m.Fail(2, group.Retry{}, now); !ok || err != nil {
		t.Fatal(ok, err)
	}
	m.AckAll()
	b = reopened(t, b, s)
	defer mustClose(t, b)
	p := position(t, b, "billing", "orders", 0)
	if free, _ := p.Free(5, now); free != (group.Span{From: 1, To: 2}) {
		t.Errorf("%v is free", free)
	}
	var again group.Member
	again.Lease(p, group.Span{From: 1, To: 2}, 0)
	if f, _, _ := again.Fail(1, group.Retry{}, now); f.Attempts != 2 {
		t.Errorf("%d attempts", f.Attempts)
	}
}
