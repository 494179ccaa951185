package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// unsure is a store that does not know that a topic was deleted.
type unsure struct{ store.Store }

func (unsure) Deleted([16]byte) bool { return false }

func TestPositionsInATopicThatIsMissingAreKept(t *testing.T) {
	book, log := newLog()
	s := setup{disk: crashfs.New(), options: broker.Options{Log: log}, wrap: func(s store.Store) store.Store { return unsure{s} }}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	consume(t, position(t, b, "billing", "orders", 0), 7, 9)
	mustClose(t, b)
	if err := s.disk.Rename("/data/topics/orders", "/data/lost"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b = mustOpen(t, s)
		mustFill(t, b, "stock")
		compactPositionsLog(t, b)
		mustClose(t, b)
	}
	if n := len(book.Lines("level=WARN", "in a topic that is missing or can't be used", "topic=orders", "positions=1")); n != 2 {
		t.Errorf("%q", book.Lines())
	}
	if err := s.disk.Rename("/data/lost", "/data/topics/orders"); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	want := []group.Span{{From: 5, To: 7}, {From: 9, To: filled}}
	if got := freeOf(position(t, b, "billing", "orders", 0), filled); !slices.Equal(got, want) {
		t.Errorf("%v is free, not %v", got, want)
	}
}

// compactPositionsLog commits until the positions log is compacted.
func compactPositionsLog(t testing.TB, b *bus) {
	t.Helper()
	start, _ := mustHave(t, b, broker.PositionsTopic).Partitions()[0].Offsets()
	commits := make([]group.Commit, 1000)
	for round := range int64(30) {
		for i := range commits {
			commits[i] = group.Commit{Topic: "stock", Partition: i, Offset: round}
		}
		mustMake(t, b, "stock")
		mustCommit(t, b, "busy", commits...)
	}
	if now, _ := mustHave(t, b, broker.PositionsTopic).Partitions()[0].Offsets(); now == start {
		t.Fatal("the positions log is not compacted")
	}
}

func mustHave(t testing.TB, b *bus, name string) *broker.Topic {
	t.Helper()
	topic, err := b.Topic(name)
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func TestPositionsInAMissingTopicEndWhenAnotherOneTakesItsName(t *testing.T) {
	for _, when := range []string{"at the start", "later"} {
		t.Run(when, func(t *testing.T) {
			book, log := newLog()
			s := setup{disk: crashfs.New(), options: broker.Options{Log: log}}
			b := mustOpen(t, s)
			mustFill(t, b, "orders")
			consume(t, position(t, b, "billing", "orders", 0), 0, 5)
			mustClose(t, b)
			st, err := commitlog.Open("/data", commitlog.Options{FS: s.disk})
			if err != nil {
				t.Fatal(err)
			}
			if err := st.DeleteTopic("orders"); err != nil {
				t.Fatal(err)
			}
			if when == "at the start" {
				if _, err := st.CreateTopic("orders", 1, ""); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			s.wrap = func(s store.Store) store.Store { return unsure{s} }
			b = mustOpen(t, s)
			for range 2 {
				mustMake(t, b, "orders")
				if c := position(t, b, "billing", "orders", 0).Committed(); c != 0 {
					t.Errorf("in another topic the group is at %d", c)
				}
				b = reopened(t, b, s)
			}
			mustClose(t, b)
			if n := len(book.Lines("level=WARN", "another topic of this name", "topic=orders", "positions=1")); n != 1 {
				t.Errorf("%q", book.Lines())
			}
		})
	}
}

// Nothing is logged of the positions in deleted topics.
func TestPositionsInADeletedTopicAreForgottenInSilence(t *testing.T) {
	book, log := newLog()
	s := setup{disk: crashfs.New(), options: broker.Options{Log: log}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	mustClose(t, b)
	st, err := commitlog.Open("/data", commitlog.Options{FS: s.disk})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.DeleteTopic("orders"), st.Close()); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	if names := groupNames(b); len(names) > 0 || strings.Contains(fmt.Sprint(book.Lines("level=WARN")), "orders") {
		t.Errorf("groups %q; %q", names, book.Lines())
	}
}

// Without its positions a group would begin from the start: it can't be used, and all else goes on.
func TestPositionsThatCannotBeUsedStopNothingElse(t *testing.T) {
	book, log := newLog()
	s := setup{disk: crashfs.New(), options: broker.Options{Log: log}}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	mustClose(t, b)
	if err := s.disk.Rename("/data/topics/"+broker.PositionsTopic, "/data/lost"); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	orders := mustMake(t, b, "orders")
	publish(t, orders.Partitions()[0], time.Now(), 1, 10)
	if _, err := b.Position("billing", orders, 0); !errors.Is(err, store.ErrUnusable) || !errors.Is(b.PositionsUnusable(), store.ErrUnusable) {
		t.Errorf("the group can be used: %v, %v", err, b.PositionsUnusable())
	}
	done := make(chan []error, 1)
	b.CommitOffsets("billing", []group.Commit{{Topic: "orders", Offset: 7}}, func(errs []error) { done <- errs })
	if errs := <-done; !errors.Is(errs[0], store.ErrUnusable) {
		t.Errorf("it commits: %v", errs)
	}
	if n := len(book.Lines("level=ERROR", "no group can consume", broker.PositionsTopic)); n != 1 {
		t.Errorf("%q", book.Lines())
	}
	mustClose(t, b)
	if err := s.disk.Rename("/data/lost", "/data/topics/"+broker.PositionsTopic); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	if c := position(t, b, "billing", "orders", 0).Committed(); c != 5 || b.PositionsUnusable() != nil {
		t.Errorf("it is back, and the group is at %d; %v", c, b.PositionsUnusable())
	}
}

func TestPositionsInAMissingTopicGoWhenItIsDeleted(t *testing.T) {
	s := setup{disk: crashfs.New()}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	mustFill(t, b, "stock")
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	consume(t, position(t, b, "billing", "stock", 0), 0, 5)
	mustClose(t, b)
	if err := s.disk.Rename("/data/topics/orders", "/data/lost"); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	if _, err := b.MakeTopic("orders"); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("its name is free: %v", err)
	}
	if c, ok := b.CommittedOffset("billing", "orders", 0); !ok || c.Offset != 5 {
		t.Errorf("while it is missing: %+v, %v", c, ok)
	}
	b = reopened(t, b, s)
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if c, ok := b.CommittedOffset("billing", "orders", 0); ok {
			t.Errorf("after its deletion: %+v", c)
		}
		if c, ok := b.CommittedOffset("billing", "stock", 0); !ok || c.Offset != 5 {
			t.Errorf("in the other topic: %+v, %v", c, ok)
		}
		b = reopened(t, b, s)
	}
	mustMake(t, b, "orders")
	if c := position(t, b, "billing", "orders", 0).Committed(); c != 0 {
		t.Errorf("in a new topic of its name it is at %d", c)
	}
	mustClose(t, b)
}
