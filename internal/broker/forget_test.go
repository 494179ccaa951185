package broker_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// offsetsRetention is that of the tests.
const offsetsRetention = 30 * 24 * time.Hour

// A wallClock is the system's clock, set by a test.
type wallClock struct{ ahead atomic.Int64 }

func (c *wallClock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *wallClock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// used has a group consume offset 0 of orders, by leases.
func used(t *testing.T, b *bus, name string, from int64) {
	t.Helper()
	p := position(t, b, name, "orders", 0)
	consume(t, p, from, from+1)
	p.Close()
	mustSync(t, b)
}

func mustBeGroups(t *testing.T, b *bus, want ...string) {
	t.Helper()
	if got := groupNames(b); !slices.Equal(got, want) {
		t.Errorf("the groups are %q, not %q", got, want)
	}
}

// Each console invents a group. Those that nobody has used for long are forgotten, of both
// protocols and over restarts; those of consumers that name none, and of redrives, stay.
func TestGroupsThatNobodyUsesAreForgotten(t *testing.T) {
	var clock wallClock
	book, log := newLog()
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: offsetsRetention, Now: clock.now, Log: log}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	for _, name := range []string{"console-1", "console-2", group.Default, broker.RedriveGroup} {
		used(t, b, name, 0)
	}
	mustCommit(t, b, "kafka", group.Commit{Topic: "orders", Offset: 7})
	mustCommit(t, b, "live", group.Commit{Topic: "orders", Offset: 7})
	clock.forward(offsetsRetention - time.Hour)
	used(t, b, "console-2", 1)
	mustCommit(t, b, "live", group.Commit{Topic: "orders", Offset: 7}) // the same again
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b, "console-1", "console-2", group.Default, "kafka", "live", broker.RedriveGroup)
	b = reopened(t, b, s) // a start is no use
	clock.forward(2 * time.Hour)
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b, "console-2", group.Default, "live", broker.RedriveGroup)
	for _, name := range []string{"console-1", "kafka"} {
		if n := len(book.Lines("a group without members was forgotten", "group="+name, "positions=1")); n != 1 {
			t.Errorf("of group %q it is said %d times", name, n)
		}
	}
	mustSync(t, b)
	b = reopened(t, b, s)
	defer mustClose(t, b)
	mustBeGroups(t, b, "console-2", group.Default, "live", broker.RedriveGroup)
	p := position(t, b, "console-1", "orders", 0)
	defer p.Close()
	if at := p.Committed(); at != 0 {
		t.Errorf("a group that was forgotten goes on at %d", at)
	}
}

// A member that has nothing to do is one all the same, and the time counts from when it leaves.
func TestAGroupIsUsedUntilItsLastMemberLeaves(t *testing.T) {
	var clock wallClock
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: offsetsRetention, Now: clock.now}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	for _, name := range []string{"idle", "gone"} {
		used(t, b, name, 0)
	}
	leave, err := b.UseGroup("idle", broker.UseLine)
	if err != nil {
		t.Fatal(err)
	}
	clock.forward(2 * offsetsRetention)
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b, "idle")
	leave()
	mustSync(t, b)
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b, "idle")
	b = reopened(t, b, s)
	defer mustClose(t, b)
	clock.forward(offsetsRetention - time.Hour)
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b, "idle")
	clock.forward(2 * time.Hour)
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b)
}

// It is kept in the positions once for many leaves, which may be many.
func TestMembersThatComeAndGoWriteNothing(t *testing.T) {
	var clock wallClock
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: offsetsRetention, Now: clock.now}}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	mustFill(t, b, "orders")
	used(t, b, "g", 0)
	clock.forward(2 * time.Hour)
	size := int64(0)
	for i := range 10 {
		leave, err := b.UseGroup("g", broker.UseLine)
		if err != nil {
			t.Fatal(err)
		}
		leave()
		mustSync(t, b)
		if i == 0 {
			size = positionsLogSize(t, b)
		} else if n := positionsLogSize(t, b); n != size {
			t.Fatalf("after %d leaves there are %d records, after one %d", i+1, n, size)
		}
	}
	if size < 2 {
		t.Errorf("%d records: that the group was used is not kept", size)
	}
}

// A member that has just joined, and holds a position that is not kept yet, keeps it.
func TestAGroupThatIsJoinedIsNotForgotten(t *testing.T) {
	var clock wallClock
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: offsetsRetention, Now: clock.now}}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	mustFill(t, b, "orders")
	used(t, b, "g", 0)
	clock.forward(2 * offsetsRetention)
	p := position(t, b, "g", "orders", 0) // a commit that is under way holds one, too
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b, "g")
	p.Close()
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b)
}

// A message that a redrive has given back is waited for as long as after a commit.
func TestWhatIsReopenedIsKeptForTheRetentionFromThenOn(t *testing.T) {
	var clock wallClock
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: offsetsRetention, Now: clock.now}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	for o := range int64(3) {
		used(t, b, "g", o)
	}
	clock.forward(offsetsRetention - time.Hour)
	p := position(t, b, "g", "orders", 0)
	if err := p.Reopen(1); err != nil {
		t.Fatal(err)
	}
	p.Close()
	mustSync(t, b)
	clock.forward(offsetsRetention - time.Hour)
	b = reopened(t, b, s)
	defer mustClose(t, b)
	b.ForgetGroups(clock.now())
	p = position(t, b, "g", "orders", 0)
	if free, _ := p.Free(10, clock.now()); free != (group.Span{From: 1, To: 2}) {
		t.Errorf("free is %v", free)
	}
	p.Close()
	clock.forward(2 * time.Hour)
	b.ForgetGroups(clock.now())
	mustBeGroups(t, b)
}

// Compaction writes positions once more, with the time at which they were committed.
func TestCompactionIsNoUseOfAGroup(t *testing.T) {
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: offsetsRetention}}
	fillPositionsLog(t, s, func(b *batch.Builder) {
		long := time.Now().Add(-2 * offsetsRetention).UnixMilli()
		for n := range compactAfter - 1 {
			state := group.State{Offset: int64(n/primedGroups) + 1}
			b.Add(0, primedKey(n%primedGroups).AppendKey(nil), state.AppendValue(nil, long))
		}
	})
	b := mustOpen(t, s)
	at := primed(0, compactAfter-1)
	p := position(t, b, "g0", "orders", 0)
	consume(t, p, at, at+5)
	p.Close()
	await(t, "the positions log is compacted", func() bool { return positionsLogSize(t, b) == compacted })
	b = reopened(t, b, s)
	defer mustClose(t, b)
	b.ForgetGroups(time.Now())
	mustBeGroups(t, b, "g0")
}

func TestTheBrokerForgetsGroupsByItself(t *testing.T) {
	s := setup{dir: t.TempDir(), options: broker.Options{OffsetsRetention: time.Millisecond}}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	mustFill(t, b, "orders")
	used(t, b, "g", 0)
	await(t, "the group is forgotten", func() bool { return len(groupNames(b)) == 0 })
}
