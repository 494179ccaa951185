package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// The positions log is compacted after this many records, by FORMAT.md.
const compactAfter = 20_000

const primedGroups = 7

// compacted is the size of a positions log that has just been: a record of each group,
// and one of what was acknowledged.
const compacted = primedGroups + 1

func primedKey(i int) group.Key { return group.Key{Group: fmt.Sprint("g", i), Topic: "orders"} }

// primed is how far a group has come in a positions log of records records.
func primed(i, records int) int64 { return int64((records-i-1)/primedGroups + 1) }

// prime writes a positions log of so many records, of seven groups in turn.
func prime(t testing.TB, s setup, records int) {
	t.Helper()
	fillPositionsLog(t, s, func(b *batch.Builder) {
		for n := range records {
			state := group.State{Offset: int64(n/primedGroups) + 1}
			b.Add(0, primedKey(n%primedGroups).AppendKey(nil), state.AppendValue(nil, 0))
		}
	})
}

// mustStand fails the test unless the groups stand where prime left them, and
// the first as far as first, or not yet.
func mustStand(t testing.TB, b *bus, records int, first int64) {
	t.Helper()
	for i := range primedGroups {
		c, want := position(t, b, primedKey(i).Group, "orders", 0).Committed(), primed(i, records)
		if c != want && (i > 0 || c != first) {
			t.Errorf("group %d is at %d, not %d", i, c, want)
		}
	}
}

func TestPositionsLogIsCompactedAndKeepsEveryPosition(t *testing.T) {
	s := setup{dir: t.TempDir()}
	prime(t, s, compactAfter-1)
	b := mustOpen(t, s)
	mustStand(t, b, compactAfter-1, 0)
	at := primed(0, compactAfter-1)
	consume(t, position(t, b, "g0", "orders", 0), at, at+5)
	await(t, "the positions log is compacted", func() bool { return positionsLogSize(t, b) == compacted })
	mustClose(t, b)
	b = mustOpen(t, s)
	defer mustClose(t, b)
	mustStand(t, b, compactAfter-1, at+5)
	if c := position(t, b, "g0", "orders", 0).Committed(); c != at+5 {
		t.Errorf("the last acknowledgement is forgotten: %d", c)
	}
}

func TestPositionsLogStaysSmallHoweverMuchIsAcknowledged(t *testing.T) {
	s := setup{dir: t.TempDir(), log: lazily}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	const members, each = 20, 3000 // three times as much as it takes
	var all sync.WaitGroup
	for m := range members {
		p := position(t, b, fmt.Sprint("g", m), "orders", 0)
		all.Go(func() {
			for i := range int64(each) {
				consume(t, p, i, i+1)
				mustSync(t, b)
			}
		})
	}
	all.Wait()
	mustClose(t, b)
	b = mustOpen(t, s)
	defer mustClose(t, b)
	for m := range members {
		if c := position(t, b, fmt.Sprint("g", m), "orders", 0).Committed(); c != each {
			t.Errorf("group %d is at %d", m, c)
		}
	}
	if n := positionsLogSize(t, b); n > 2*compactAfter {
		t.Errorf("the positions log has %d records", n)
	}
}

// The process or the system dies before each single change that compaction
// makes on the disk.
func TestCrashDuringCompactionLosesNoPosition(t *testing.T) {
	brokertest.Slow(t)
	const records = compactAfter - 1
	base := crashfs.New()
	prime(t, setup{disk: base}, records)
	at := primed(0, records)
	calls := 0
	for finished := false; !finished; calls++ {
		disk := base.Crash(crashfs.Everything())
		finished = compactUntil(t, disk, calls, at)
		for seed, policy := range []crashfs.Policy{
			crashfs.Everything(), crashfs.Nothing(), crashfs.Some(uint64(calls)), crashfs.Torn(uint64(calls)),
		} {
			b := mustOpen(t, setup{disk: disk.Crash(policy)})
			mustStand(t, b, records, at+5)
			p := position(t, b, "g0", "orders", 0)
			consume(t, p, p.Committed(), at+10)
			mustClose(t, b)
			if t.Failed() {
				t.Fatalf("killed before call %d, policy %d", calls, seed)
			}
		}
	}
	if calls < 4 {
		t.Errorf("there were only %d calls to be killed at", calls)
	}
}

// compactUntil has a broker compact its positions log and kills it before the call of
// that number. It reports whether it was done before.
func compactUntil(t *testing.T, disk *crashfs.FS, number int, at int64) bool {
	t.Helper()
	b := mustOpen(t, setup{disk: disk})
	var calls atomic.Int32
	killed := make(chan struct{})
	disk.SetHook(func(c crashfs.Call) error {
		if strings.HasPrefix(c.Name, "/data/clock") {
			return nil // is written meanwhile
		}
		if int(calls.Add(1)) == number+1 {
			disk.Kill()
			close(killed)
		}
		return nil
	})
	consume(t, position(t, b, "g0", "orders", 0), at, at+5)
	finished := false
	await(t, "the positions log is compacted, or the broker killed", func() bool {
		select {
		case <-killed:
			return true
		default:
			finished = positionsLogSize(t, b) == compacted
			return finished
		}
	})
	disk.Kill()
	_ = b.Close() // of the dead one
	return finished
}

// Between the moment when the positions are collected and the one when they are
// written, one of them moves.
func TestPositionThatMovesDuringCompactionIsNotForgotten(t *testing.T) {
	const records = compactAfter - 1
	var b *bus
	at := primed(0, records)
	s := setup{dir: t.TempDir()}
	prime(t, s, records)
	meanwhile := s
	meanwhile.wrap = func(st store.Store) store.Store {
		return &storefault.Store{Store: st, Append: func(p store.Partition, _ string, batches []byte, done func(int64, error)) error {
			if batch.Batch(batches).Count() == primedGroups { // this is the compaction
				var m group.Member
				if !m.Lease(position(t, b, "g3", "orders", 0), group.Span{From: primed(3, records), To: 1_000_000}, 0) {
					t.Error("not free")
				}
				m.AckAll()
			}
			return store.Append(p, batches, done)
		}}
	}
	b = mustOpen(t, meanwhile)
	consume(t, position(t, b, "g0", "orders", 0), at, at+5)
	await(t, "the positions log is compacted", func() bool { return positionsLogSize(t, b) < compactAfter })
	mustClose(t, b)
	b = mustOpen(t, s)
	defer mustClose(t, b)
	if c := position(t, b, "g3", "orders", 0).Committed(); c != 1_000_000 {
		t.Errorf("after the restart the group is at %d: what it acknowledged comes again", c)
	}
}
