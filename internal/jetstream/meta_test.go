package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func set(t testing.TB, e *Engine, key, data string, revision uint64) uint64 {
	t.Helper()
	r, err := e.SetValue(testContext(t), key, []byte(data), revision)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCatalogComparesAndSets(t *testing.T) {
	engines := startEngines(t, 3)
	ctx := testContext(t)
	first := set(t, engines[0], "node.1", "a", 0)
	for i, e := range engines {
		v, err := e.Value(ctx, "node.1")
		if err != nil || string(v.Data) != "a" || v.Revision != first {
			t.Fatalf("node %d reads %+v, %v", i+1, v, err)
		}
	}
	if _, err := engines[1].SetValue(ctx, "node.1", []byte("b"), 0); !errors.Is(err, ErrConflict) {
		t.Fatalf("a second first entry: %v", err)
	}
	second := set(t, engines[1], "node.1", "b", first)
	if _, err := engines[2].SetValue(ctx, "node.1", []byte("c"), first); !errors.Is(err, ErrConflict) {
		t.Fatalf("an entry over one that was not read: %v", err)
	}
	if v, err := engines[2].Value(ctx, "node.1"); err != nil || string(v.Data) != "b" || v.Revision != second {
		t.Fatalf("%+v, %v", v, err)
	}
}

// Of many that claim an entry at the same time one gets it, and knows that.
func TestCatalogGivesAnEntryToOneOfMany(t *testing.T) {
	engines := startEngines(t, 3)
	ctx := testContext(t)
	revision := uint64(0)
	for round := range 20 {
		var mu sync.Mutex
		var won []string
		var claims sync.WaitGroup
		for i, e := range engines {
			claims.Go(func() {
				data := fmt.Sprint(round, i)
				_, err := e.SetValue(ctx, "shard.0", []byte(data), revision)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, data)
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		claims.Wait()
		v, err := engines[0].Value(ctx, "shard.0")
		if err != nil || len(won) != 1 || string(v.Data) != won[0] {
			t.Fatalf("round %d: the entry is %q, %v; it was given to %q", round, v.Data, err, won)
		}
		revision = v.Revision
	}
}

// The answer to a change was lost, and its second copy is refused.
func TestCatalogTakesALostAnswerForWhatItIs(t *testing.T) {
	e := startEngines(t, 1)[0]
	ctx := testContext(t)
	m := nats.NewMsg(metaPrefix + "topic.61")
	m.Header.Set(writeHeader, "this one")
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, "0")
	stored, err := e.meta.store(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.put(ctx, "topic.61", Value{Key: "topic.61"}, m); err != nil || again != stored {
		t.Errorf("revision %d, %v; the first copy got %d", again, err, stored)
	}
	m.Header.Set(writeHeader, "another one")
	if _, err := e.put(ctx, "topic.61", Value{Key: "topic.61"}, m); !errors.Is(err, ErrConflict) {
		t.Errorf("the change of another node: %v", err)
	}
}

func TestCatalogRefusesAChangeWhoseGuardHasChanged(t *testing.T) {
	e := startEngines(t, 1)[0]
	ctx := testContext(t)
	set(t, e, "shard.0", "node 1", 0)
	guard, err := e.Value(ctx, "shard.0")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the entry itself may have changed
		if _, err := e.SetValueIf(ctx, "topic.61", []byte("x"), guard); err != nil {
			t.Fatal(err)
		}
	}
	set(t, e, "shard.0", "node 2", guard.Revision)
	if _, err := e.SetValueIf(ctx, "topic.61", []byte("y"), guard); !errors.Is(err, ErrConflict) {
		t.Fatalf("a change by the owner before: %v", err)
	}
	if v, err := e.Value(ctx, "topic.61"); err != nil || string(v.Data) != "x" {
		t.Fatalf("%q, %v", v.Data, err)
	}
}

func TestCatalogListsAllEntriesBelowAPrefix(t *testing.T) {
	e := startEngines(t, 1)[0]
	ctx := testContext(t)
	set(t, e, "topics", "another key", 0)
	for i := range 100 {
		set(t, e, fmt.Sprintf("topic.%d", i), fmt.Sprint(i), 0)
	}
	values, err := e.Values(ctx, "topic.")
	if err != nil || len(values) != 100 {
		t.Fatalf("%d entries, %v", len(values), err)
	}
	for _, v := range values {
		if v.Key != "topic."+string(v.Data) || v.Revision == 0 {
			t.Errorf("%+v", v)
		}
	}
	all, err := e.Values(ctx, "")
	if err != nil || len(all) < 101 {
		t.Errorf("%d entries in all, %v", len(all), err)
	}
	none, err := e.Values(ctx, "nothing.")
	if err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
	for _, wrong := range []string{"topic", "*.", ".", "a b."} {
		if _, err := e.Values(ctx, wrong); err == nil {
			t.Errorf("prefix %q is taken", wrong)
		}
	}
}

func TestCatalogRefusesOtherKeys(t *testing.T) {
	e := startEngines(t, 1)[0]
	for _, wrong := range []string{"", ".", "a.", ".a", "a..b", "*", "a.>", "a b", "a\r\n"} {
		if _, err := e.SetValue(testContext(t), wrong, nil, 0); err == nil {
			t.Errorf("key %q is taken", wrong)
		}
	}
}

func TestWatchGetsWhatIsThereAndWhatChanges(t *testing.T) {
	engines := startEngines(t, 3)
	revision := set(t, engines[0], "topic.61", "1", 0)
	set(t, engines[0], "node.1", "of no interest", 0)
	got := make(chan string, 10)
	stop, err := engines[2].Watch("topic.", func(v Value) { got <- v.Key + "=" + string(v.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	expect := func(want string) {
		t.Helper()
		select {
		case s := <-got:
			if s != want {
				t.Fatalf("got %q, want %q", s, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q has not come", want)
		}
	}
	expect("topic.61=1")
	revision = set(t, engines[0], "topic.61", "2", revision)
	expect("topic.61=2")
	set(t, engines[1], "topic.62", "", 0)
	expect("topic.62=")
	stop()
	set(t, engines[0], "topic.61", "3", revision)
	select {
	case s := <-got:
		t.Errorf("%q after stop", s)
	default:
	}
}
