package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// testFailover is the same in all tests: the servers of a process share it.
const testFailover = time.Second

// startEngines starts n engines that are nodes 1 to n of a cluster, of one alone if n is 1, and waits
// until they are ready. They end with the test.
func startEngines(t testing.TB, n int, change ...func(*Options)) []*Engine {
	t.Helper()
	engines := make([]*Engine, n)
	for i, o := range testOptions(t, n) {
		for _, f := range change {
			f(&o)
		}
		engines[i] = startEngine(t, o)
	}
	for _, e := range engines {
		waitReady(t, e)
	}
	return engines
}

// testOptions gives the options of n nodes of a cluster.
func testOptions(t testing.TB, n int) []Options {
	t.Helper()
	all := make([]Options, n)
	peers, output := freeAddresses(t, n), newTestOutput(t)
	for i := range all {
		all[i] = Options{
			Dir: t.TempDir(), Node: int32(i + 1), Replicas: n, Failover: testFailover,
			Log: slog.New(slog.NewTextHandler(output, &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", i+1),
		}
		if n > 1 {
			all[i].Cluster, all[i].Peers = peers[i], peers
		}
	}
	return all
}

func startEngine(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

func waitReady(t testing.TB, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// freeAddresses gives n addresses of loopback on which nobody listens. They are below the ports that
// the system gives to others.
func freeAddresses(t testing.TB, n int) (addresses []string) {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close()
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses
		}
	}
	t.Fatal("no free ports")
	return nil
}

// testOutput writes a log to the test's, until the test has ended.
type testOutput struct {
	t     testing.TB
	mu    *sync.Mutex
	ended *bool
}

func newTestOutput(t testing.TB) testOutput {
	o := testOutput{t, new(sync.Mutex), new(bool)}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		*o.ended = true
	})
	return o
}

func (o testOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !*o.ended {
		o.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func TestOneEngineIsReady(t *testing.T) {
	e := startEngines(t, 1)[0]
	if !e.Leads() {
		t.Error("one node alone does not lead")
	}
}

func TestThreeEnginesAreReadyAndOneLeads(t *testing.T) {
	engines := startEngines(t, 3)
	eventually(t, func() bool { return leader(engines) != nil })
}

// leader gives the engine that leads, nil if none or several say so.
func leader(engines []*Engine) (found *Engine) {
	for _, e := range engines {
		if !e.Leads() {
			continue
		}
		if found != nil {
			return nil
		}
		found = e
	}
	return found
}

// eventually waits until f is true.
func eventually(t testing.TB, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("has not become true within a minute")
		}
	}
}
