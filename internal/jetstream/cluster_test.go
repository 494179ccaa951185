package jetstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"mbus/internal/cluster/clusterkey"
)

// slow is for tests that start several servers more than once.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
}

func TestAnotherNodeLeadsWhenTheLeaderIsGone(t *testing.T) {
	options := testOptions(t, 3)
	engines := startAll(t, options)
	set(t, engines[0], "topic.61", "kept", 0)
	for range 2 {
		eventually(t, func() bool { return leader(engines) != nil })
		i := slices.Index(engines, leader(engines))
		engines[i].Stop()
		rest := slices.Delete(slices.Clone(engines), i, i+1)
		eventually(t, func() bool { return leader(rest) != nil })
		if engines[i].Leads() {
			t.Error("a node that has stopped leads")
		}
		if v, err := leader(rest).Value(testContext(t), "topic.61"); err != nil || string(v.Data) != "kept" {
			t.Fatalf("%q, %v", v.Data, err)
		}
		engines[i] = startEngine(t, options[i])
		waitReady(t, engines[i])
	}
}

func startAll(t testing.TB, options []Options) []*Engine {
	t.Helper()
	engines := make([]*Engine, len(options))
	for i, o := range options {
		engines[i] = startEngine(t, o)
	}
	for _, e := range engines {
		waitReady(t, e)
	}
	return engines
}

func stopAll(engines []*Engine) {
	var stopped sync.WaitGroup
	for _, e := range engines {
		stopped.Go(e.Stop)
	}
	stopped.Wait()
}

func TestAllNodesStopAndComeBack(t *testing.T) {
	slow(t)
	options := testOptions(t, 3)
	engines := startAll(t, options)
	set(t, engines[0], "topic.61", "kept", 0)
	stopAll(engines)
	engines = startAll(t, options)
	if v, err := engines[2].Value(testContext(t), "topic.61"); err != nil || string(v.Data) != "kept" {
		t.Errorf("%q, %v", v.Data, err)
	}
}

// Two of three nodes come up empty while the third, with the messages, is down. They must not make a new
// cluster. When one has its directory again, the other one may join with an empty one.
func TestEmptyNodesDoNotMakeANewCluster(t *testing.T) {
	slow(t)
	options := testOptions(t, 3)
	engines := startAll(t, options)
	set(t, engines[0], "topic.61", "kept", 0)
	stopAll(engines)

	empty := slices.Clone(options)
	empty[0].Dir, empty[1].Dir = t.TempDir(), t.TempDir()
	one, two := startEngine(t, empty[0]), startEngine(t, empty[1])
	waits(t, one, "for 1 of 3 nodes")
	waits(t, two, "for 1 of 3 nodes")
	three := startEngine(t, options[2])
	waits(t, one, "for the cluster")
	waits(t, two, "for the cluster")
	waits(t, three, "for another node of the cluster")

	one.Stop()
	one = startEngine(t, options[0])
	eventually(t, func() bool { // because their start may take long
		left := two.member.farewells()
		return len(left) == 2 && left[0].Member && left[1].Member
	})
	for _, e := range []*Engine{one, three, two} {
		waitReady(t, e)
		if v, err := e.Value(testContext(t), "topic.61"); err != nil || string(v.Data) != "kept" {
			t.Fatalf("node %d: %q, %v", e.o.Node, v.Data, err)
		}
	}
}

// waits waits until an engine waits for something.
func waits(t *testing.T, e *Engine, what string) {
	t.Helper()
	eventually(t, func() bool {
		err := e.member.why()
		return isWaiting(err) && strings.Contains(err.Error(), what)
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Ready(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), what) {
		t.Errorf("Ready says %v", err)
	}
}

func TestADirectoryOfAnotherClusterIsRefused(t *testing.T) {
	slow(t)
	others := testOptions(t, 3)
	stopAll(startAll(t, others))
	options := testOptions(t, 3)
	engines := startAll(t, options)
	engines[2].Stop()
	options[2].Dir = others[2].Dir
	e := startEngine(t, options[2])
	if err := e.Ready(testContext(t)); err == nil || !strings.Contains(err.Error(), "belongs to cluster") {
		t.Errorf("%v", err)
	}
	if e.server.Load().JetStreamEnabled() || e.Leads() {
		t.Error("it votes, or leads")
	}
}

func TestStartRefusesDirectories(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := func(node int32, change func(t *testing.T, dir string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			e, err := Start(Options{Dir: dir, Node: node, Replicas: 1})
			if err != nil {
				t.Fatal(err)
			}
			e.Stop()
			change(t, dir)
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string
	}{
		"of a broker without a cluster": {write("format", "mbus 2\n"), "-import"},
		"of a newer program":            {write("format", "mbus cluster 99\n"), "CHANGELOG.md"},
		"with other files":              {write("letter.txt", "dear"), "choose an empty directory"},
		"of another node":               {used(2, func(*testing.T, string) {}), "is that of node 2"},
		"damaged":                       {used(1, write("node.json", "{")), "can't be read"},
		"without its number": {used(1, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "node.json")); err != nil {
				t.Fatal(err)
			}
		}), "has lost its file"},
		"in use": {func(t *testing.T, dir string) {
			startEngine(t, Options{Dir: dir, Node: 1, Replicas: 1})
		}, "in use by another process"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			e, err := Start(Options{Dir: dir, Node: 1, Replicas: 1})
			if err == nil {
				e.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestStartRefusesOptions(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for want, change := range map[string]func(*Options){
		"begin with 1":   func(o *Options) { o.Node = 0 },
		"choose 3 or 5":  func(o *Options) { o.Replicas = 2 },
		"with a cluster": func(o *Options) { o.Cluster = "192.0.2.1:9994" },
		"not an address": func(o *Options) { o.Peers[1] = "example.com:9994" },
		"a number from":  func(o *Options) { o.Peers[1] = "127.0.0.1:0" },
		"missing port":   func(o *Options) { o.Cluster = "127.0.0.1" },
		"in use":         func(o *Options) { o.Cluster = l.Addr().String() },
	} {
		o := testOptions(t, 3)[0]
		o.Log = nil
		change(&o)
		if e, err := Start(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			if err == nil {
				e.Stop()
			}
		}
	}
}

func TestFiveReplicasOnFiveNodes(t *testing.T) {
	slow(t)
	engines := startEngines(t, 5)
	for _, stream := range []string{metaStream, shardStream} {
		if n := replicas(t, engines[4], stream); n != 5 {
			t.Errorf("stream %q has %d replicas", stream, n)
		}
	}
	if err := engines[3].makeStream(testContext(t), "mb_t_61_0", "mb.t.61.0.*"); err != nil {
		t.Fatal(err)
	}
	if n := replicas(t, engines[0], "mb_t_61_0"); n != 5 {
		t.Errorf("a topic has %d replicas", n)
	}
}

// replicas is how many nodes have a stream.
func replicas(t *testing.T, e *Engine, stream string) int {
	t.Helper()
	i, err := e.streamInfo(testContext(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(i.Cluster.Replicas) + 1; n != i.Config.Replicas {
		return -n // not yet
	}
	return i.Config.Replicas
}

func TestReplicasAreAddedWhenTheirNumberIsRaised(t *testing.T) {
	slow(t)
	options := testOptions(t, 3)
	for i := range options {
		options[i].Replicas = 1
	}
	engines := startAll(t, options)
	set(t, engines[0], "topic.61", "kept", 0)
	stopAll(engines)
	for i := range options {
		options[i].Replicas = 3
	}
	engines = startAll(t, options)
	for _, stream := range []string{metaStream, shardStream} {
		eventually(t, func() bool { return replicas(t, engines[0], stream) == 3 })
	}
	if v, err := engines[2].Value(testContext(t), "topic.61"); err != nil || string(v.Data) != "kept" {
		t.Errorf("%q, %v", v.Data, err)
	}
}

// A topic can be made while a node is down. It gets its third replica when the node is back.
func TestAStreamIsMadeWhileANodeIsDown(t *testing.T) {
	slow(t)
	options := testOptions(t, 3)
	engines := startAll(t, options)
	stopAll(engines)
	for i := range 2 { // the third one is not known to them
		engines[i] = startEngine(t, options[i])
	}
	waitReady(t, engines[0])
	if err := engines[0].makeStream(testContext(t), "mb_t_61_0", "mb.t.61.0.*"); err != nil {
		t.Fatal(err)
	}
	if n := replicas(t, engines[1], "mb_t_61_0"); n != 2 {
		t.Errorf("%d replicas", n)
	}
	if err := engines[0].makeStream(testContext(t), "mb_t_61_0", "mb.t.61.0.*"); err != nil {
		t.Fatalf("the same once more: %v", err)
	}
	engines[2] = startEngine(t, options[2])
	waitReady(t, engines[2])
	eventually(t, func() bool {
		for _, e := range engines {
			e.addReplicas(testContext(t))
		}
		return replicas(t, engines[1], "mb_t_61_0") == 3
	})
}

func TestNodesWithTheKeyMakeACluster(t *testing.T) {
	slow(t)
	key := clusterkey.New()
	options := testOptions(t, 3)
	for i := range options {
		options[i].TLS = config(t, key, options[i].Node)
	}
	engines := startAll(t, options)
	engines[2].Stop()

	for name, wrong := range map[string]*tls.Config{"another key": config(t, clusterkey.New(), 3), "no key": nil} {
		o := options[2]
		o.TLS = wrong
		e := startEngine(t, o)
		waits(t, e, "for another node")
		if n := e.server.Load().NumRoutes(); n != 0 {
			t.Errorf("%s: %d routes", name, n)
		}
		e.Stop()
	}
	e := startEngine(t, options[2])
	waitReady(t, e)
}

func config(t *testing.T, key *clusterkey.Key, node int32) *tls.Config {
	t.Helper()
	c, err := key.Config(node, clusterkey.Routes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A node that is lost is replaced by one with a new number, and removed. It can't come back.
func TestANodeIsReplaced(t *testing.T) {
	slow(t)
	options := testOptions(t, 4)
	for i := range options {
		options[i].Replicas = 3
		if i < 3 {
			options[i].Peers = options[i].Peers[:3]
		}
	}
	engines := startAll(t, options[:3])
	ctx := testContext(t)
	if err := engines[0].makeStream(ctx, "mb_t_61_0", "mb.t.61.0.*"); err != nil {
		t.Fatal(err)
	}
	for _, node := range []int32{1, 3, 9} {
		if err := engines[0].Remove(ctx, node); err == nil {
			t.Errorf("node %d is removed", node)
		}
	}
	engines[2].Stop()
	four := startEngine(t, options[3])
	waitReady(t, four)
	rest := []*Engine{engines[0], engines[1], four}
	eventually(t, func() bool {
		all, err := engines[0].Peers(ctx)
		return err == nil && len(all) == 4 && !all[2].Up && !all[2].Current && all[3].Up
	})
	eventually(t, func() bool { return engines[1].Remove(ctx, 3) == nil }) // not as long as it may be up
	eventually(t, func() bool { return current(t, engines[0], 1, 2, 4) })
	for _, stream := range []string{metaStream, shardStream, "mb_t_61_0"} {
		eventually(t, func() bool { return replicas(t, engines[0], stream) == 3 })
	}
	if err := engines[1].Remove(ctx, 3); err == nil {
		t.Error("it is removed twice")
	}
	three := startEngine(t, options[2])
	if err := three.Ready(ctx); err == nil || !strings.Contains(err.Error(), "has been removed") {
		t.Errorf("it comes back: %v", err)
	}
	three.Stop()
	options[2].Dir = t.TempDir()
	three = startEngine(t, options[2])
	if err := three.Ready(ctx); err == nil || !strings.Contains(err.Error(), "has been removed") {
		t.Errorf("its number comes back: %v", err)
	}
	eventually(t, func() bool { return leader(rest) != nil })
}

// Also in the other order: the node is removed first.
func TestANodeIsRemovedAndThenReplaced(t *testing.T) {
	slow(t)
	options := testOptions(t, 4)
	for i := range options {
		options[i].Replicas = 3
		if i < 3 {
			options[i].Peers = options[i].Peers[:3]
		}
	}
	engines := startAll(t, options[:3])
	ctx := testContext(t)
	engines[0].Stop()
	eventually(t, func() bool { return engines[1].Remove(ctx, 1) == nil })
	eventually(t, func() bool { return current(t, engines[1], 2, 3) })
	waitReady(t, startEngine(t, options[3]))
	eventually(t, func() bool { return current(t, engines[1], 2, 3, 4) })
	for _, stream := range []string{metaStream, shardStream} {
		eventually(t, func() bool { return replicas(t, engines[2], stream) == 3 })
	}
}

// current reports whether the cluster has these nodes, all are current, and they lead each stream.
func current(t *testing.T, e *Engine, nodes ...int32) bool {
	t.Helper()
	all, err := e.Peers(testContext(t))
	if err != nil {
		return false
	}
	var found []int32
	for _, p := range all {
		if !p.Up || !p.Current || p.Lag > 0 {
			return false
		}
		found = append(found, p.Node)
	}
	return slices.Equal(found, nodes)
}

func TestPeersSayWhichNodesAreUp(t *testing.T) {
	slow(t)
	engines := startEngines(t, 3)
	eventually(t, func() bool { return current(t, engines[0], 1, 2, 3) })
	all, err := engines[1].Peers(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	leads := 0
	for _, p := range all {
		leads += p.Leads
		if p.Streams != 2 {
			t.Errorf("%+v", p)
		}
	}
	if leads != 2 {
		t.Errorf("%d streams are led: %+v", leads, all)
	}
	engines[2].Stop()
	eventually(t, func() bool { return leader(engines[:2]) != nil })
	set(t, engines[0], "topic.61", "x", 0)
	eventually(t, func() bool {
		all, err = engines[0].Peers(testContext(t))
		return err == nil && len(all) == 3 && all[0].Current && all[1].Current
	})
	if all[2].Up || all[2].Current {
		t.Errorf("%+v", all[2])
	}
	engines[1].Stop()
	eventually(t, func() bool { // an old leader needs some seconds to notice
		_, err := engines[0].Peers(short(t))
		return err != nil
	})
}

func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestStepDownHasTheOtherNodeLead(t *testing.T) {
	engines := startEngines(t, 3)
	ctx := testContext(t)
	for range 2 {
		for _, to := range []int32{1, 2, 3, 0} {
			eventually(t, func() bool { return leader(engines) != nil })
			from := leader(engines)
			eventually(t, func() bool { return from.StepDown(ctx, to) == nil }) // a replica may lag for a moment
			eventually(t, func() bool {
				l := leader(engines)
				return l != nil && (to == 0 && l != from || l.o.Node == to)
			})
		}
	}
	if err := leader(engines).StepDown(ctx, 9); err == nil {
		t.Error("a node leads that does not exist")
	}
}

// Changes of the catalog happen once, also if the leader changes in between.
func TestCatalogCountsExactlyWhileItsLeaderChanges(t *testing.T) {
	engines := startEngines(t, 3)
	ctx := testContext(t)
	const each = 40
	done := make(chan struct{})
	var counting, moving sync.WaitGroup
	for _, e := range engines {
		counting.Go(func() {
			for range each {
				for {
					v, err := e.Value(ctx, "counter")
					if err != nil {
						t.Error(err)
						return
					}
					n, _ := strconv.Atoi(string(v.Data))
					_, err = e.SetValue(ctx, "counter", []byte(strconv.Itoa(n+1)), v.Revision)
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	moving.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
			for _, e := range engines {
				if e.leads(metaStream) {
					_ = e.server.Load().JetStreamStepdownStream(server.DEFAULT_GLOBAL_ACCOUNT, metaStream)
				}
			}
		}
	})
	counting.Wait()
	close(done)
	moving.Wait()
	if v, err := engines[0].Value(ctx, "counter"); err != nil || string(v.Data) != strconv.Itoa(3*each) {
		t.Errorf("%q, %v", v.Data, err)
	}
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	slow(t)
	options := testOptions(t, 3)
	engines := startAll(t, options)
	for _, e := range engines {
		if _, err := e.Watch("topic.", func(Value) {}); err != nil {
			t.Fatal(err)
		}
		if err := e.Handle("wait", func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = engines[0].Call(testContext(t), 0, "wait", nil) }()
	stopAll(engines)
	waiting := startEngine(t, options[0]) // has not joined
	waiting.Stop()
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if left = ours(); len(left) == 0 {
			break
		}
	}
	for _, stack := range left {
		t.Error(stack)
	}
	for _, e := range engines {
		if err := e.Handle("late", nil); err == nil {
			t.Error("Handle after Stop")
		}
		if _, err := e.Value(testContext(t), "topic.61"); !errors.Is(err, ErrStopped) {
			t.Errorf("Value after Stop: %v", err)
		}
		e.Stop()
	}
}

// ours gives the goroutines of this package and of its connections. Those of the embedded servers are not
// counted, because some of them end only minutes later.
func ours() (left []string) {
	b := make([]byte, 4<<20)
	for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if !strings.Contains(stack, "testing.tRunner") && (strings.Contains(stack, "mbus/internal/jetstream.") || strings.Contains(stack, "nats-io/nats%2ego")) {
			left = append(left, stack)
		}
	}
	return left
}
