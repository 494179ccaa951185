package transfer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/jetstream"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/test/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

// madeByABroker is the data directory of a broker that was killed: with topics of all kinds, positions, delayed messages, users,
// and small messages that only the journal has.
func madeByABroker(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	b := brokertest.Start(t, dir)
	operate := func(method, path string, body any) {
		t.Helper()
		if status, answer, err := b.Operate(method, path, body); err != nil || status >= 300 {
			t.Fatalf("%s %s: status %d, %s, %v", method, path, status, answer, err)
		}
	}
	operate(http.MethodPost, "/topics?execute", map[string]any{"topic": "parcels", "partitions": 3, "config": map[string]string{"retention.bytes": "1000000000"}})
	operate(http.MethodPost, "/topics?execute", map[string]any{"topic": "empty", "partitions": 2})
	for i := range 30 {
		b.Publish("parcels?keyed", fmt.Sprintf("key%d\tvalue", i), fmt.Sprintf("other%d\t%s", i, strings.Repeat("v", 1000*i)))
	}
	operate(http.MethodPatch, "/topics/parcels?execute", map[string]any{"partitions": 5})
	b.Publish("parcels?keyed", "a\tb", "c\td", "e\tf")
	for range 5 {
		b.Publish("orders", slices.Repeat([]string{strings.Repeat("m", 5000)}, 200)...)
	}
	b.Drain("orders?group=billing")
	b.Publish("orders", "first", "second", "third")
	b.Publish("orders?delay=24h", "tomorrow", "and again")
	b.Publish("gone", "x")
	b.Drain("gone?group=billing")
	operate(http.MethodDelete, "/topics/gone?execute", nil)
	b.Publish("gone", "is back")
	operate(http.MethodPut, "/users/alice", map[string]string{"password": "secret of alice"})
	b.Kill()
	return dir
}

// trimmed has a log start offset in the middle of a batch, and an empty log that does not begin at 0.
func trimmed(t *testing.T, dir string) {
	t.Helper()
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for topic, before := range map[string]int64{"orders": 7, "gone": 1} {
		p, err := s.Partition(topic, 0)
		if err == nil {
			err = p.Trim(before)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.KeepNote([]byte(`{"time":1}`)), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func look(t *testing.T, dir string) Survey {
	t.Helper()
	s, err := Look(dir, func(f commitlog.Finding) {
		if !f.Harmless {
			t.Error(f)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An aloneCluster is a cluster of one node: its engine, or another store. It counts how often it was owned.
type aloneCluster struct {
	own     func(context.Context) (store.Restorer, error)
	owned   int
	largest int // batch, in bytes; 0 for no limit

	mu       sync.Mutex
	state    []byte
	revision uint64
}

func (c *aloneCluster) Own(ctx context.Context) (store.Restorer, error) {
	c.owned++
	return c.own(ctx)
}

func (c *aloneCluster) MaxBatch() int { return cmp.Or(c.largest, 8<<20) }

func (c *aloneCluster) Get(context.Context) ([]byte, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.revision, nil
}

func (c *aloneCluster) Set(_ context.Context, p []byte, revision uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision != c.revision {
		return errors.New("another one has set it")
	}
	c.state, c.revision = bytes.Clone(p), revision+1
	return nil
}

func newEngine(t *testing.T) *jetstream.Engine {
	t.Helper()
	e, err := jetstream.Start(jetstream.Options{Dir: t.TempDir(), Node: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := e.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return e
}

func overEngine(e *jetstream.Engine) *aloneCluster {
	return &aloneCluster{own: func(ctx context.Context) (store.Restorer, error) { return e.TakeOver(ctx) }}
}

var quiet = slog.New(slog.DiscardHandler)

// What a broker has written comes out of a cluster as it was: each batch, with all that is kept beside them.
func TestADirectoryGoesIntoAClusterAndBack(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
	}{
		{"as the journal has left it", func(*testing.T, string) {}},
		{"trimmed", trimmed},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := madeByABroker(t)
			test.prepare(t, dir)
			before := look(t, dir)
			if before.Verified.Records < 1000 || len(before.Topics) != 7 || len(before.Note) == 0 {
				t.Fatalf("it is too little to say anything: %+v", before.Verified)
			}
			e := newEngine(t)
			cluster := overEngine(e)
			if err := Import(t.Context(), cluster, 1, dir, quiet); err != nil {
				t.Fatal(err)
			}
			if err := MayServe(t.Context(), cluster); err != nil {
				t.Error(err)
			}
			s, err := e.TakeOver(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			sameBatches(t, dir, s)
			back, sums := export(t, s)
			after := look(t, back)
			if before.Sum() != after.Sum() || !bytes.Equal(before.Note, after.Note) || sums != before.totals() {
				t.Errorf("it has changed:\n%+v\n%+v\n%+v", before, after, sums)
			}
			if b := brokertest.Start(t, back); b.Runs() { // and a broker takes it
				b.Stop()
			}
		})
	}
}

// export copies what a store has into a new data directory.
func export(t *testing.T, s store.Store) (dir string, sums Totals) {
	t.Helper()
	var stream bytes.Buffer
	if err := Export(t.Context(), &stream, s); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "back")
	to, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sums, err = Receive(&stream, to, func(Totals) {})
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, sums
}

// sameBatches compares each batch of a directory with what a store gives for its offset.
func sameBatches(t *testing.T, dir string, s store.Store) {
	t.Helper()
	read := make(map[string][]byte)
	each := func(b commitlog.Stored) error {
		of := fmt.Sprint(b.Topic.Name, "/", b.Partition)
		read[of] = append(read[of], b.Batch...)
		return nil
	}
	if _, err := commitlog.VerifyAnd(dir, commitlog.Options{}, commitlog.Observer{Each: each}, func(commitlog.Finding) {}); err != nil {
		t.Fatal(err)
	}
	for _, of := range s.Topics() {
		for i := range of.Partitions {
			p, err := s.Partition(of.Name, i)
			if err != nil {
				t.Fatal(err)
			}
			list, err := storetest.ReadAll(p, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for _, b := range list {
				got = append(got, b.Bytes...)
			}
			if name := fmt.Sprint(of.Name, "/", i); !bytes.Equal(got, read[name]) {
				t.Errorf("%s has %d bytes, %d before, which are others", name, len(got), len(read[name]))
			}
		}
	}
}

// A directory stays as it was, to the byte, so that the broker can go on where the import fails.
func TestImportChangesNothingOfTheDirectory(t *testing.T) {
	dir := madeByABroker(t)
	before := files(t, dir)
	if err := Import(t.Context(), overEngine(newEngine(t)), 1, dir, quiet); err != nil {
		t.Fatal(err)
	}
	after := files(t, dir)
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%q has changed", name)
		}
	}
	if len(before) != len(after) {
		t.Errorf("there were %d files, and are %d", len(before), len(after))
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p, err := os.ReadFile(path)
		all[path] = string(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
