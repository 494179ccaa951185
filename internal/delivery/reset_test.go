package delivery

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/units"
)

// A plan says where positions are, also where none is kept, changes nothing, and is refused where it can't be
// executed.
func TestResetIsPlannedAndExecuted(t *testing.T) {
	b := start(t, 2)
	b.publish("orders", "a=1", "b=2", "c=3", "d=4", "e=5", "f=6", "g=7", "h=8")
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	_, end0 := topic.Partitions()[0].Offsets()
	_, end1 := topic.Partitions()[1].Offsets()
	view := b.broker.View
	if err := view.ResetOffsets("billing", topic, []int64{1}); err != nil { // of the first partition only
		t.Fatal(err)
	}
	r, err := PlanReset(view, "billing", topic, &units.Position{Offset: units.End})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Move{{1, true, end0}, {0, false, end1}}; !slices.Equal(r.Moves, want) {
		t.Errorf("%v, not %v", r.Moves, want)
	}
	if at := b.committed("billing", "orders"); at != 1 {
		t.Errorf("planned only, and the position is %d", at)
	}
	if err := r.Execute(); err != nil || b.committed("billing", "orders") != end0 {
		t.Errorf("%v, and the position is %d, not %d", err, b.committed("billing", "orders"), end0)
	}
	for _, wrong := range []*units.Position{{Offset: max(end0, end1) + 1}, {Partitions: map[int]int64{2: 0}}} {
		if _, err := PlanReset(view, "billing", topic, wrong); !errors.Is(err, ErrPosition) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	b.worker("orders", Options{Group: "billing"})
	var inUse *group.InUseError
	if err := r.Execute(); !errors.As(err, &inUse) || !strings.HasSuffix(err.Error(), "stop them first") {
		t.Errorf("of a group in use: %v", err)
	}
	if err := broker.CheckGroupDeletion(view, "billing"); !errors.As(err, &inUse) {
		t.Errorf("of a group in use: %v", err)
	}
	if err := broker.CheckGroupDeletion(view, "nobody"); !errors.Is(err, broker.ErrUnknownGroup) {
		t.Errorf("of no group: %v", err)
	}
}

// Each worker may have all partitions; a group without members reads nothing.
func TestReadersOfATopicAreItsGroupsWithMembers(t *testing.T) {
	b := start(t, 2)
	b.publish("orders", "a=1", "b=2", "c=3")
	b.publish("stock", "a=1")
	for _, w := range []struct{ topic, group string }{{"orders", "shipping"}, {"orders", "billing"}, {"orders", "billing"}, {"stock", "stores"}} {
		awaitIdle(&b.worker(w.topic, Options{Group: w.group}).pump) // it has found its partitions
	}
	b.mustDrain("stock", "1")
	if got, want := ReadersOf(b.broker.View, "orders"), []Reader{{"billing", 2}, {"shipping", 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
