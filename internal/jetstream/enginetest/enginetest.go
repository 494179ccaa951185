// Package enginetest runs tests that were written for a store on a disk on the engine of a cluster: of
// three nodes in the test's process, where the variable TEST_STORE says "jetstream".
package enginetest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mbus/internal/jetstream"
	"mbus/internal/store"
)

// Wanted reports whether tests are to run on the engine.
func Wanted() bool { return os.Getenv("TEST_STORE") == "jetstream" }

// NotHere skips a test that is about what the engine does not have, such as files that a test damages.
func NotHere(t testing.TB, reason string) {
	t.Helper()
	if Wanted() {
		t.Skip("not on the engine: " + reason)
	}
}

// cluster is that of all tests of a process.
var cluster struct {
	once    sync.Once
	engines []*jetstream.Engine
	dir     string
	err     error

	mu     sync.Mutex
	shards map[any]string // names by key
}

// Main is for TestMain: it runs the tests and ends the cluster, if there is one.
func Main(m *testing.M) (code int) {
	code = m.Run()
	for _, e := range cluster.engines {
		e.Stop()
	}
	if cluster.dir != "" {
		_ = os.RemoveAll(cluster.dir)
	}
	return code
}

const (
	nodes    = 3
	patience = time.Minute
)

// Open takes the topics over that a test knows by a key, such as the directory or the disk where they would
// be without the engine. A store that has them open loses them.
func Open(key any, sectionBytes int64) (store.Store, error) {
	cluster.once.Do(start)
	if cluster.err != nil {
		return nil, cluster.err
	}
	shard := shardOf(key)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := cluster.engines[0].TakeOverShard(ctx, shard, sectionBytes)
	if err != nil {
		return nil, fmt.Errorf("taking the topics of %q over: %w", shard, err)
	}
	return s, nil
}

// shardOf gives a key the name of a shard of its own.
func shardOf(key any) string {
	cluster.mu.Lock()
	defer cluster.mu.Unlock()
	if cluster.shards == nil {
		cluster.shards = make(map[any]string)
	}
	name, ok := cluster.shards[key]
	if !ok {
		name = fmt.Sprint("test-", len(cluster.shards))
		cluster.shards[key] = name
	}
	return name
}

func start() {
	var peers []string
	if cluster.dir, cluster.err = os.MkdirTemp("", "mbus-engine"); cluster.err != nil {
		return
	}
	if peers, cluster.err = freeAddresses(nodes); cluster.err != nil {
		return
	}
	for i := range nodes {
		e, err := jetstream.Start(jetstream.Options{
			Dir: filepath.Join(cluster.dir, fmt.Sprint(i)), Node: int32(i + 1), Replicas: nodes,
			Cluster: peers[i], Peers: peers, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			cluster.err = err
			return
		}
		cluster.engines = append(cluster.engines, e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, e := range cluster.engines {
		if err := e.Ready(ctx); err != nil {
			cluster.err = err
			return
		}
	}
}

// freeAddresses gives addresses of loopback on which nobody listens, below the ports that the system gives
// to others.
func freeAddresses(n int) (addresses []string, err error) {
	for range 1000 {
		var l net.Listener
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))); err != nil {
			continue
		}
		defer l.Close()
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, err
}
