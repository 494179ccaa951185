package clusterfault

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
	"mbus/test/oracle"
)

// Bounds of waits. They are long, because machines that test are slow; nothing waits longer than it must.
const (
	patience = 60 * time.Second // for what must happen
	answered = 25 * time.Second // for one answer, until a client turns to another node
)

// A load is clients of all kinds on all nodes, which go on until it ends, and what they were promised.
type load struct {
	t       *testing.T
	cluster *brokertest.Cluster
	nodes   []place
	away    *brokertest.Host // where clients are that no node's fate concerns; nil for this machine

	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	orders *oracle.Ledger // one partition; lines and Kafka
	bills  *oracle.Ledger // three; HTTP, by keys
	log    *history
	groups []*standing
	worker *worker
	actors []*actor
}

// A place is a node as clients know it, over all its starts.
type place struct {
	host                              *brokertest.Host
	producers, consumers, kafka, http string
}

const billsPartitions = 3

// An actor is a client, with the times at which it got on.
type actor struct {
	name string

	mu    sync.Mutex // guards what follows
	times []time.Time
	last  error // that it met
}

func (a *actor) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = err
}

func (a *actor) gotOn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, time.Now())
}

func (a *actor) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.times)
}

// pause is the longest time in which it did not get on, from a moment on, and whether it has since.
func (a *actor) pause(since time.Time) (longest time.Duration, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.times, since, time.Time.Compare)
	last := since
	for _, at := range a.times[i:] {
		longest, last = max(longest, at.Sub(last)), at
	}
	return max(longest, time.Since(last)), i+3 < len(a.times)
}

// startLoad has all clients begin, on a cluster that runs.
func startLoad(t *testing.T, c *brokertest.Cluster, away *brokertest.Host) *load {
	t.Helper()
	l := &load{
		t: t, cluster: c, away: away, orders: oracle.NewLedger("orders"), bills: oracle.NewLedger("bills"),
		log: newHistory(), worker: &worker{standing: standing{group: "work"}, got: make(map[string]bool), kept: make(map[int64]bool)},
	}
	for _, b := range c.Nodes {
		l.nodes = append(l.nodes, place{b.Host(), b.Producers(), b.Consumers(), b.Kafka(), b.HTTP()})
	}
	l.create("bills", billsPartitions)
	l.create("orders", 1)
	l.create("log", 1)
	l.ctx, l.end = context.WithCancel(t.Context())
	t.Cleanup(func() { l.end(); l.running.Wait() })
	for i := range l.nodes {
		l.begin(fmt.Sprint("lines", i+1), i, l.publishLines)
		l.begin(fmt.Sprint("http", i+1), i, l.publishHTTP)
		l.begin(fmt.Sprint("log", i+1), i, l.useLog)
	}
	l.begin("kafka", 0, l.publishKafka)
	l.begin("work", 1, l.work)
	for i := range 5 {
		g := &standing{group: fmt.Sprint("group", i)}
		l.groups = append(l.groups, g)
		l.begin(g.group, i, func(a *actor, _ int) { l.commit(a, g) })
	}
	l.groups = append(l.groups, &l.worker.standing)
	l.recover(time.Now())
	return l
}

// begin has an actor begin at a node, and turn to the next one after each error.
func (l *load) begin(name string, node int, act func(a *actor, node int)) {
	a := &actor{name: name}
	l.actors = append(l.actors, a)
	l.running.Go(func() {
		for ; l.ctx.Err() == nil; node++ {
			act(a, node%len(l.nodes))
			rest(l.ctx, 20*time.Millisecond)
		}
	})
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// dial connects from a host, and closes with the load.
func (l *load) dial(from *brokertest.Host, address string) (net.Conn, error) {
	conn, err := from.Dial(address)
	if err == nil {
		context.AfterFunc(l.ctx, func() { conn.Close() })
	}
	return conn, err
}

// recover waits until all clients get on again from a moment on, and says which did not for longest.
func (l *load) recover(since time.Time) string {
	l.t.Helper()
	var slowest *actor
	longest := time.Duration(0)
	for _, a := range l.actors {
		var pause time.Duration
		for over := false; !over; {
			if pause, over = a.pause(since); !over && pause > patience {
				l.t.Fatalf("client %s does not get on for %v; its last error: %v", a.name, pause, a.last)
			}
			rest(l.t.Context(), 5*time.Millisecond)
		}
		if pause > longest {
			slowest, longest = a, pause
		}
	}
	slowest.mu.Lock()
	defer slowest.mu.Unlock()
	return fmt.Sprintf("%s did not get on for %v, longer than the rest; its last error: %v", slowest.name, longest.Round(10*time.Millisecond), slowest.last)
}

// gotOnFor counts how often clients get on in some time.
func (l *load) gotOnFor(d time.Duration) (n int) {
	for _, a := range l.actors {
		n -= a.count()
	}
	rest(l.t.Context(), d)
	for _, a := range l.actors {
		n += a.count()
	}
	return n
}

// A found is what a cluster holds of a load's messages.
type found struct {
	orders []string
	bills  [billsPartitions][]string
	log    []string
}

func (l *load) look() (f found) {
	l.t.Helper()
	f.orders = l.read("orders?from=beginning")
	for p := range f.bills {
		f.bills[p] = l.read(fmt.Sprintf("bills?from=beginning&partition=%d", p))
	}
	f.log = l.read("log?from=beginning")
	return f
}

// mustBegin fails the test unless all that was found is the beginning of what is found later.
func (f found) mustBegin(t *testing.T, later found) {
	t.Helper()
	logs := append(f.bills[:], f.orders, f.log)
	for i, now := range append(later.bills[:], later.orders, later.log) {
		if n := len(logs[i]); n > len(now) || !slices.Equal(logs[i], now[:n]) {
			t.Errorf("%d messages of a log are not the first %d of the %d that are there later", n, n, len(now))
		}
	}
}

// read reads to the end by a request of lines, on any node that answers.
func (l *load) read(request string) (all []string) {
	l.t.Helper()
	node, last := 0, error(nil)
	brokertest.Await(l.t, patience, request+" is answered", func() bool {
		node = (node + 1) % len(l.nodes)
		b := l.cluster.Nodes[node]
		if !b.Runs() {
			return false
		}
		answer, err := b.Read(request)
		if err == nil && strings.HasPrefix(brokertest.LastLine(answer), "-") {
			err = fmt.Errorf("answered %s", brokertest.LastLine(answer))
		}
		if err != nil {
			if last == nil || last.Error() != err.Error() {
				l.t.Logf("node %d: %s: %v", node+1, request, err)
			}
			last = err
			rest(l.t.Context(), 50*time.Millisecond)
			return false
		}
		all = lines(answer)
		return true
	})
	return all
}

func lines(text string) (list []string) {
	for line := range strings.Lines(text) {
		list = append(list, strings.TrimSuffix(line, "\n"))
	}
	return list
}

// create makes a topic.
func (l *load) create(topic string, partitions int) {
	l.t.Helper()
	l.ctx = l.t.Context()
	brokertest.Await(l.t, patience, "topic "+topic+" is made", func() bool {
		status, answer, err := l.request(0, "POST", "/topics?execute", fmt.Sprintf(`{"topic":%q,"partitions":%d}`, topic, partitions), http.Header{"Content-Type": {"application/json"}})
		if err == nil && status/100 == 4 && status != http.StatusConflict {
			l.t.Fatalf("topic %s: %d %s", topic, status, answer)
		}
		return status/100 == 2 || status == http.StatusConflict
	})
}

// judge ends the clients, and compares what is there with what they were promised; then once more after all nodes have
// been stopped and started.
func (l *load) judge(name string, faults int) {
	l.t.Helper()
	l.end()
	l.running.Wait()
	before := l.look()
	sum := l.compare(before)
	sum.Runs = faults
	for _, b := range l.cluster.Nodes {
		if err := b.Terminate(); err != nil {
			l.t.Error(err)
		}
	}
	for node, b := range l.cluster.Nodes {
		if err := b.Wait(); err != nil {
			l.t.Errorf("node %d, after SIGTERM: %v", node+1, err)
		}
	}
	l.cluster.StartAll()
	after := l.look()
	before.mustBegin(l.t, after)
	again := l.compare(after)
	sum.Read, again.Runs = again.Read, sum.Runs // what clients had sent when they ended may have come later
	if again != sum {
		l.t.Errorf("%+v was there, and after a restart %+v", sum, again)
	}
	l.t.Logf("%s: %+v, and %s", name, sum, l.log.check(l.t, after.log))
	oracle.ReportAs(name, sum)
	sum.MustKeep(l.t)
	if sum.Duplicates > 0 {
		l.t.Errorf("%d messages are there twice", sum.Duplicates)
	}
}

func (l *load) compare(f found) (sum oracle.Tally) {
	l.t.Helper()
	sum.Add(l.orders.Judge(f.orders))
	sum.Add(l.bills.Judge(slices.Concat(f.bills[:]...)))
	l.log.compare(l.t, f.log)
	for _, g := range l.groups {
		at := l.position(g.group)
		if low, high := g.bounds(); at < low || at > high {
			l.t.Errorf("group %s stands at %d: %d was confirmed, and %d committed", g.group, at, low, high)
		}
	}
	l.worker.commit(l.worker.see(l.read("orders?group=work&format=json")) + 1)
	if n := l.worker.missed(f.orders); n > 0 {
		l.t.Errorf("group work has not got %d messages", n)
		sum.Lost += n
	}
	return sum
}

// position is where a group stands in the orders.
func (l *load) position(group string) int64 {
	l.t.Helper()
	for _, line := range l.read("?groups&format=json&topic=orders&group=" + group) {
		if _, at, found := strings.Cut(line, `"position":`); found {
			end := strings.IndexFunc(at, func(r rune) bool { return r < '0' || r > '9' })
			n, err := strconv.ParseInt(at[:end], 10, 64)
			if err != nil {
				l.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}
