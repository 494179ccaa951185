package line_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

func TestDrainsOfOneGroupShareWithoutLossOrDuplicates(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{partitions: 3, limits: func(l *broker.Limits) { l.SettleTime = moment / 10 }})
	rng := rand.New(rand.NewPCG(1, 1))
	number := 0
	for range 40 {
		want := make([]string, 500+rng.IntN(2000))
		for i := range want {
			want[i] = fmt.Sprintf("message %d %s", number, strings.Repeat("x", rng.IntN(400)))
			number++
		}
		for at := 0; at < len(want); at += 400 {
			b.publish("orders", want[at:min(at+400, len(want))]...)
		}
		got := make([]string, 2+rng.IntN(3))
		var all sync.WaitGroup
		for i := range got {
			c := b.dial(b.consumers, "orders\n")
			all.Go(func() { got[i] = c.rest() })
		}
		all.Wait()
		mustBeOnce(t, want, got...)
	}
}

// mustBeOnce fails the test unless each message is in one of the texts, once.
func mustBeOnce(t *testing.T, want []string, texts ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSuffix(strings.Join(texts, ""), "\n"), "\n")
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Fatalf("%d messages of %d came: %s", len(got), len(want), brief(join(got)))
	}
}

func TestWhatADrainGivesBackGoesToTheOther(t *testing.T) {
	b := start(t, setup{})
	rng := rand.New(rand.NewPCG(2, 2))
	for range 10 {
		messages := numbered(5000, 100+rng.IntN(200))
		b.publish("orders", messages...)
		fails := b.dialWith(small, b.consumers, "orders?n=2500\n")
		for range 1 + rng.IntN(200) {
			fails.line()
		}
		goesOn := b.dial(b.consumers, "orders\n")
		var got bytes.Buffer
		if _, err := io.CopyN(&got, goesOn.r, 1+rng.Int64N(200_000)); err != nil {
			t.Fatal(err)
		}
		fails.reset()
		got.WriteString(goesOn.rest())
		mustBeOnce(t, messages, got.String())
	}
}

func TestDrainWaitsOnlyTheSettleTimeForOthers(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.SettleTime = moment }})
	b.publish("orders", "first", "second")
	holds := b.dial(b.consumers, "orders?n=1\n")
	holds.mustSay("first")
	b.mustDrain("orders", "second\n") // and the first is still on its way
	holds.mustEnd("")
	b.mustDrain("orders", "")
}

func TestDrainEndsAtOnceWhenOthersHaveConsumedTheRest(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.SettleTime = never }})
	b.publish("orders", "first", "second")
	holds := b.dial(b.consumers, "orders?n=1\n")
	holds.mustSay("first")
	waits := b.dial(b.consumers, "orders\n")
	waits.mustSay("second")
	holds.mustEnd("")
	waits.mustEnd("")
}

func TestOtherGroupsAreNotWaitedFor(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.SettleTime = never }})
	b.publish("orders", "first")
	holds := b.dial(b.consumers, "orders\n")
	holds.mustSay("first")
	b.mustDrain("orders?group=b", "first\n")
	holds.mustEnd("")
}

// While a drain is busy with one partition another gives back what it held of
// the one before.
func TestDrainTakesOverWhatIsGivenBackBehindItsBack(t *testing.T) {
	var reading func() // called once, before the second partition is read
	var mu sync.Mutex
	b := start(t, setup{partitions: 2, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Read: func(p store.Partition, _ string, offset int64, maxBytes int, c *store.Chunk) error {
			mu.Lock()
			f := reading
			reading = nil
			mu.Unlock()
			if f != nil {
				f()
			}
			return p.Read(offset, maxBytes, c)
		}}
	}})
	b.publish("orders", "first")  // on partition 0
	b.publish("orders", "second") // on partition 1
	holds := b.dial(b.consumers, "orders?n=1\n")
	holds.mustSay("first")
	mu.Lock()
	reading = func() {
		holds.reset()
		p := b.position("default", "orders", 0)
		await(t, "it is given back", func() bool {
			free, _ := p.Free(1, time.Now())
			return free == group.Span{From: 0, To: 1}
		})
	}
	mu.Unlock()
	mustBeOnce(t, []string{"first", "second"}, b.drain("orders"))
}

// One holds a message of the first partition on and on, another gives back what
// it holds of the second.
func TestDrainTakesOverFromEachPartition(t *testing.T) {
	b := start(t, setup{partitions: 2, limits: func(l *broker.Limits) { l.SettleTime = never }})
	b.publish("orders", "first")  // on partition 0
	b.publish("orders", "second") // on partition 1
	holds := b.dial(b.consumers, "orders?n=1\n")
	holds.mustSay("first")
	fails := b.dial(b.consumers, "orders?n=1\n")
	fails.mustSay("second")
	waits := b.dial(b.consumers, "orders\n")
	waits.mustBeSilent()
	fails.reset()
	waits.mustSay("second")
	holds.mustEnd("")
	waits.mustEnd("")
}
