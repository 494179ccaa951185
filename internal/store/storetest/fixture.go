package storetest

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// A fixture is a store under test and the model of its contents.
type fixture struct {
	*testing.T
	store.Store
	batchtest.Maker
	reopen func() store.Store
	topics map[string]*topic
	clock  atomic.Int64 // the store's, in milliseconds since 1970
}

type topic struct {
	store.Topic
	logs []*log
}

func newFixture(t *testing.T, open Opener) *fixture {
	f := &fixture{T: t, topics: map[string]*topic{}}
	f.clock.Store(batchtest.FirstTime)
	f.Store, f.reopen = open(t)
	f.UseClock(f.now)
	return f
}

func (f *fixture) now() time.Time { return time.UnixMilli(f.clock.Load()) }

// create creates a topic.
func (f *fixture) create(name string, partitions int) *topic {
	f.Helper()
	made, err := f.CreateTopic(name, partitions, "")
	if err != nil {
		f.Fatalf("create topic %q: %v", name, err)
	}
	if made.Name != name || made.Partitions != partitions {
		f.Fatalf("create topic %q with %d partitions made %+v", name, partitions, made)
	}
	m := &topic{Topic: made}
	for range partitions {
		m.logs = append(m.logs, &log{t: f.T, now: f.now})
	}
	f.topics[name] = m
	f.connect()
	return m
}

// log creates a topic of one partition, which it returns.
func (f *fixture) log() *log {
	f.Helper()
	return f.create("orders", 1).logs[0]
}

// filled makes a log of that many batches of five records and about 650 bytes,
// so that several of the store's segments are in use.
func (f *fixture) filled(batches int) *log {
	f.Helper()
	l := f.log()
	for range batches {
		l.append(f.Batch(5, 100))
	}
	return l
}

// delete removes a topic.
func (f *fixture) delete(name string) {
	f.Helper()
	if err := f.DeleteTopic(name); err != nil {
		f.Fatalf("delete topic %q: %v", name, err)
	}
	delete(f.topics, name)
}

// connect looks up the partition of each log in the model.
func (f *fixture) connect() {
	f.Helper()
	for name, m := range f.topics {
		for i, l := range m.logs {
			p, err := f.Partition(name, i)
			if err != nil {
				f.Fatalf("partition %d of %q: %v", i, name, err)
			}
			l.Partition = p
		}
	}
}

// restart opens the store again and compares everything with the model.
func (f *fixture) restart() {
	f.Helper()
	f.Store = f.reopen()
	f.UseClock(f.now)
	f.connect()
	f.check()
}

// check compares everything with the model.
func (f *fixture) check() {
	f.Helper()
	var want []store.Topic
	for _, name := range slices.Sorted(maps.Keys(f.topics)) {
		want = append(want, f.topics[name].Topic)
	}
	if got := f.Topics(); !slices.EqualFunc(got, want, func(a, b store.Topic) bool { return a.Equal(&b) }) {
		f.Fatalf("topics are %v, want %v", got, want)
	}
	for _, m := range f.topics {
		for _, l := range m.logs {
			l.check()
		}
	}
}

// refuses fails the test if err is not want.
func (f *fixture) refuses(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: %v, want %v", what, err, want)
	}
}
