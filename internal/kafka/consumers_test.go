package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/test/brokertest"
)

// A worker is a consumer of theGroup, made of franz-go, that reads until it is
// closed.
type worker struct {
	t  testing.TB
	cl *kgo.Client

	mu       sync.Mutex // guards what follows
	has      map[int32]bool
	assigned []int // how many partitions came with each assignment that had any
	revoked  []int32
	got      map[string]int // how often each record came, as partition/offset
	conns    []net.Conn
	dead     bool
	ended    sync.WaitGroup
}

func (b *bus) worker(opts ...kgo.Opt) *worker {
	b.t.Helper()
	w := &worker{t: b.t, has: make(map[int32]bool), got: make(map[string]int)}
	w.cl = b.franz(append([]kgo.Opt{
		kgo.ConsumerGroup(theGroup), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(100 * time.Millisecond), kgo.Dialer(w.dial),
		kgo.OnPartitionsAssigned(w.onAssigned), kgo.OnPartitionsRevoked(w.onRevoked), kgo.OnPartitionsLost(w.onLost),
	}, opts...)...)
	w.ended.Go(w.read)
	b.t.Cleanup(w.close)
	return w
}

func (w *worker) read() {
	for {
		fetches := w.cl.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		w.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { w.got[fmt.Sprint(r.Partition, "/", r.Offset)]++ })
		w.mu.Unlock()
	}
}

// close ends the worker: it commits, and leaves unless it is static.
func (w *worker) close() {
	w.cl.Close()
	w.ended.Wait()
}

func (w *worker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errors.New("killed")
	}
	w.conns = append(w.conns, nc)
	return nc, err
}

// kill takes the worker off the network: it can say nothing more.
func (w *worker) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for _, nc := range w.conns {
		nc.Close()
	}
}

func (w *worker) onAssigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, number := range added["orders"] {
		w.has[number] = true
	}
	if n := len(added["orders"]); n > 0 {
		w.assigned = append(w.assigned, n)
	}
}

// onRevoked commits, as kgo does by itself if it is given no callback.
func (w *worker) onRevoked(ctx context.Context, cl *kgo.Client, lost map[string][]int32) {
	w.mu.Lock()
	dead := w.dead
	w.mu.Unlock()
	if err := cl.CommitUncommittedOffsets(ctx); err != nil && !dead {
		w.t.Errorf("commit: %v", err)
	}
	w.onLost(ctx, cl, lost)
}

func (w *worker) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, number := range lost["orders"] {
		delete(w.has, number)
		w.revoked = append(w.revoked, number)
	}
}

// owns is how many partitions the worker has.
func (w *worker) owns() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.has)
}

// wantOwned waits until each worker has so many partitions.
func wantOwned(t testing.TB, n int, workers ...*worker) {
	t.Helper()
	await(t, fmt.Sprintf("each has %d partitions", n), func() bool {
		return !slices.ContainsFunc(workers, func(w *worker) bool { return w.owns() != n })
	})
}

// wantRead waits until the workers together have read n records of each
// partition.
func wantRead(t testing.TB, partitions, n int, workers ...*worker) {
	t.Helper()
	await(t, "all records are read", func() bool {
		seen := make(map[string]bool)
		for _, w := range workers {
			w.mu.Lock()
			for r := range w.got {
				seen[r] = true
			}
			w.mu.Unlock()
		}
		return len(seen) == partitions*n
	})
}

// fill publishes n records to each partition.
func (b *bus) fill(partitions, n int) {
	b.t.Helper()
	c := b.dial()
	for i := range partitions {
		c.publish("orders", int32(i), messages(n))
	}
}

func TestMembersShareATopicAndTheNextGoOnWhereTheyEnded(t *testing.T) {
	brokertest.Slow(t)
	for name, balancer := range map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "round robin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative": kgo.CooperativeStickyBalancer(),
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{})
			b.topic("orders", 4)
			first := b.worker(kgo.Balancers(balancer))
			wantOwned(t, 4, first)
			second := b.worker(kgo.Balancers(balancer))
			wantOwned(t, 2, first, second)
			b.fill(4, 50)
			wantRead(t, 4, 50, first, second)
			first.close()
			second.close()
			b.fill(4, 1)
			third := b.worker(kgo.Balancers(balancer))
			wantRead(t, 4, 1, third)
		})
	}
}

func TestCooperativeMembersKeepReadingWhatTheyKeep(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 4)
	first := b.worker()
	wantOwned(t, 4, first)
	second := b.worker()
	wantOwned(t, 2, first, second)
	first.mu.Lock()
	defer first.mu.Unlock()
	if len(first.revoked) != 2 || !slices.Equal(first.assigned, []int{4}) {
		t.Errorf("revoked were %v, assigned %v partitions", first.revoked, first.assigned)
	}
}

func TestStaticConsumerComesBackWithoutARebalance(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 4)
	other, static := b.worker(), b.worker(kgo.InstanceID("one"))
	wantOwned(t, 2, other, static)
	b.fill(4, 10)
	wantRead(t, 4, 10, other, static)
	_, generation := static.cl.GroupMetadata()
	static.close()
	if n := len(b.describe(5, theGroup).Members); n != 2 {
		t.Fatalf("%d members while the static one is away", n)
	}
	again := b.worker(kgo.InstanceID("one"))
	wantOwned(t, 2, again)
	if _, now := again.cl.GroupMetadata(); now != generation {
		t.Errorf("generation %d after %d", now, generation)
	}
	b.fill(4, 10)
	wantRead(t, 4, 20, other, static, again)
	other.mu.Lock()
	defer other.mu.Unlock()
	for r, n := range other.got {
		if n > 1 {
			t.Errorf("the other consumer got %s %d times", r, n)
		}
	}
}

func TestFiftyMembersAllGetTheirPart(t *testing.T) {
	brokertest.Slow(t)
	const n = 50
	b := start(t, setup{})
	b.topic("orders", n)
	workers := make([]*worker, n)
	for i := range workers {
		workers[i] = b.worker()
	}
	wantOwned(t, 1, workers...)
	await(t, "the group is stable", func() bool {
		g := b.describe(5, theGroup)
		return g.State == "Stable" && len(g.Members) == n
	})
	b.fill(n, 5)
	wantRead(t, n, 5, workers...)
}

// Killed consumers have not committed, so that the one that is left must read
// everything.
func TestKilledConsumerIsReplacedWithinItsSessionTimeout(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	b.topic("orders", 4)
	brief := kgo.SessionTimeout(6 * time.Second)
	left, killed := b.worker(brief), b.worker(brief, kgo.DisableAutoCommit())
	wantOwned(t, 2, left, killed)
	b.fill(4, 20)
	wantRead(t, 4, 20, left, killed)
	killed.kill()
	b.fill(4, 20)
	wantOwned(t, 4, left)
	wantRead(t, 4, 40, left)
	if n := len(b.describe(5, theGroup).Members); n != 1 {
		t.Errorf("%d members", n)
	}
	if len(b.book.Lines("member is silent", theGroup)) != 1 {
		t.Errorf("logged: %q", b.book.Lines("member"))
	}
}

func TestConsumersGoOnAfterTheBrokerHasRestarted(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	b.topic("orders", 4)
	first, second := b.worker(), b.worker()
	wantOwned(t, 2, first, second)
	b.restart()
	b.fill(4, 20)
	wantRead(t, 4, 20, first, second)
	await(t, "both are members again", func() bool { return len(b.describe(5, theGroup).Members) == 2 })
}

// kcat runs it and gives what it prints.
func kcat(t testing.TB, b *bus, args ...string) string {
	t.Helper()
	brokertest.NeedTools(t, "kcat")
	cmd := exec.CommandContext(patient(t), "kcat", append([]string{"-b", b.addr, "-q"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

func TestKcatReadsAsAGroupAndGoesOnWhereItEnded(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	b.topic("orders", 1)
	b.fill(1, 3)
	group := []string{"-G", theGroup, "-X", "auto.offset.reset=earliest", "-e", "orders"}
	if got := kcat(t, b, group...); got != "0\n1\n2\n" {
		t.Errorf("first %q", got)
	}
	b.fill(1, 2)
	if got := kcat(t, b, group...); got != "0\n1\n" {
		t.Errorf("then %q", got)
	}
	if got := b.dial().fetchCommitted(8, theGroup, "orders", 0); got["orders/0"].offset != 5 {
		t.Errorf("committed %v", got)
	}
	await(t, "kcat has left", func() bool { return b.describe(5, theGroup).State == "Empty" })
}
