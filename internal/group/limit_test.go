package group_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mbus/internal/group"
)

// limited are groups with room for so many positions with names of two bytes
// together.
func limited(positions int) *group.Groups {
	g := group.New(kept)
	g.MaxBytes = int64(positions) * (group.PositionCost + 2)
	return g
}

func TestAtTheLimitThereAreNoNewPositionsAndTheOldOnesGoOn(t *testing.T) {
	g := limited(3)
	name := func(i int) group.Key { return group.Key{Group: fmt.Sprint(i), Topic: "t"} }
	for i := range 3 {
		commit(t, g, name(i), group.State{Offset: 1})
	}
	for i := 3; i < 10; i++ {
		if _, err := g.Position(name(i), group.ID{}); !errors.Is(err, group.ErrTooMany) {
			t.Fatalf("one more than there is room for: %v", err)
		}
	}
	commit(t, g, name(0), group.State{Offset: 2})
	if c, _ := g.Committed(name(0)); c.Offset != 2 {
		t.Errorf("one that exists is at %d", c.Offset)
	}
	if n := len(g.List()); n != 3 {
		t.Errorf("%d groups", n)
	}
	g.Delete("1", func(group.Key) bool { return true })
	synced := make(chan error, 1)
	g.Sync(func(err error) { synced <- err })
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	commit(t, g, name(7), group.State{})
	if _, err := g.Position(name(8), group.ID{}); !errors.Is(err, group.ErrTooMany) {
		t.Errorf("a deletion makes room for more than one: %v", err)
	}
}

func TestPositionsThatNothingIsKeptOfCountWhileTheyAreUsed(t *testing.T) {
	g := limited(1)
	first := position(g, group.Key{Group: "a", Topic: "t"})
	if _, err := g.Position(group.Key{Group: "b", Topic: "t"}, group.ID{}); !errors.Is(err, group.ErrTooMany) {
		t.Errorf("while it is used: %v", err)
	}
	first.Close()
	position(g, group.Key{Group: "b", Topic: "t"})
}

func TestAPositionOfWhichACommitHasFailedGivesItsRoomBackOnce(t *testing.T) {
	for name, deleted := range map[string]bool{"and that was deleted": true, "and that was not": false} {
		t.Run(name, func(t *testing.T) {
			j := newHeldLog()
			g := group.New(j.write)
			g.MaxBytes = 2 * (group.PositionCost + 2)
			key := func(name string) group.Key { return group.Key{Group: name, Topic: "t"} }
			sync := func() (err error) {
				done := make(chan error, 1)
				g.Sync(func(err error) { done <- err })
				return <-done
			}
			j.set(true, errWrite, false)
			g.Commit([]group.Set{{Position: position(g, key("a"))}}, func(error) {})
			if err := sync(); err == nil {
				t.Fatal("the commit did not fail")
			}
			if n := len(g.Numbers("")); n != 0 {
				t.Errorf("%d positions are shown", n)
			}
			if deleted {
				g.DeleteAll(func(group.Key) bool { return true })
			}
			j.set(true, nil, false)
			if err := sync(); err != nil {
				t.Fatal(err)
			}
			position(g, key("b"))
			position(g, key("c"))
			if _, err := g.Position(key("d"), group.ID{}); !errors.Is(err, group.ErrTooMany) {
				t.Errorf("there is room for more than two: %v", err)
			}
		})
	}
}

func TestMetadataCounts(t *testing.T) {
	g := limited(2)
	p := position(g, group.Key{Group: "a", Topic: "t"})
	if err := p.Reserve(group.PositionCost); err != nil {
		t.Fatal(err)
	}
	if err := p.Reserve(2 * group.PositionCost); !errors.Is(err, group.ErrTooMany) {
		t.Errorf("more than there is room for: %v", err)
	}
	if err := p.Reserve(10); err != nil {
		t.Errorf("less than it has: %v", err)
	}
	if _, err := g.Position(group.Key{Group: "b", Topic: "t"}, group.ID{}); !errors.Is(err, group.ErrTooMany) {
		t.Errorf("a position beside it: %v", err)
	}
	p.Close()
	position(g, group.Key{Group: "b", Topic: "t"})
}

// What is written at once is bounded.
func TestManyChangesAreWrittenInPieces(t *testing.T) {
	const many = 5000
	begun, goOn := make(chan struct{}), make(chan struct{})
	written := make(map[group.Key]int64)
	most, first := 0, true
	g := group.New(func(entries []group.Entry) error {
		if first {
			first = false
			close(begun)
			<-goOn
		}
		most = max(most, len(entries))
		for _, e := range entries {
			written[e.Key] = e.Offset
		}
		return nil
	})
	var m group.Member
	for i := range many {
		m.Lease(position(g, keyOf(strings.Repeat("t", 1+i%7)+fmt.Sprint(i))), group.Span{To: 1}, 0)
		if i == 0 {
			m.AckAll()
			<-begun
		}
	}
	m.AckAll()
	synced := make(chan error, 1)
	g.Sync(func(err error) { synced <- err })
	close(goOn)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	if len(written) != many || most > 1000 {
		t.Errorf("%d of %d are written, %d at once", len(written), many, most)
	}
}

// positions makes so many groups with one position each.
func positions(n int) *group.Groups {
	g := group.New(kept)
	for i := range n {
		g.Load(group.Key{Group: fmt.Sprintf("group-%06d", i), Topic: "orders"}, group.State{Offset: int64(i)})
	}
	return g
}

func BenchmarkCommittedOfOneOfManyGroups(b *testing.B) {
	g := positions(100_000)
	for b.Loop() {
		if len(g.CommittedOf("group-050000")) != 1 {
			b.Fatal("it is not there")
		}
	}
}

func BenchmarkListManyGroups(b *testing.B) {
	g := positions(100_000)
	for b.Loop() {
		if len(g.List()) != 100_000 {
			b.Fatal("some are not there")
		}
	}
}

// BenchmarkMemoryOfAPosition tells what PositionCost is to cover.
func BenchmarkMemoryOfAPosition(b *testing.B) {
	b.ReportAllocs()
	g := group.New(kept)
	for i := 0; b.Loop(); i++ {
		g.Load(group.Key{Group: fmt.Sprintf("group-%06d", i), Topic: "orders"}, group.State{})
	}
}
