package broker_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/auth"
	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// A copier copies a data directory that is in use, a name at a time in any order. What has gone
// meanwhile is left out.
type copier struct {
	from, to *crashfs.FS
	random   *rand.Rand
	names    []string // that are to be copied; a directory's ends in a slash
}

// step copies one file, or makes one directory, and reports false when all is done.
func (c *copier) step(t *testing.T) bool {
	t.Helper()
	if len(c.names) == 0 {
		return false
	}
	i := c.random.IntN(len(c.names))
	name := c.names[i]
	c.names = slices.Delete(c.names, i, i+1)
	dir, ok := strings.CutSuffix(name, "/")
	if !ok {
		c.file(t, name)
		return true
	}
	list, err := c.from.ReadDir(dir)
	if err != nil {
		return true
	}
	if err := c.to.Mkdir(dir); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		c.names = append(c.names, path.Join(dir, e.Name)+map[bool]string{true: "/"}[e.Dir])
	}
	return true
}

func (c *copier) file(t *testing.T, name string) {
	t.Helper()
	f, err := c.from.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size)
	n, _ := f.ReadAt(p, 0) // it may have become shorter
	to, err := c.to.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := to.WriteAt(p[:n], 0); err != nil {
		t.Fatal(err)
	}
}

// A shop uses a broker and remembers what was acknowledged.
type shop struct {
	t         *testing.T
	b         *bus
	random    *rand.Rand
	n         int
	values    map[string]bool
	committed map[int]int64 // by partition of orders
}

func (s *shop) publish(name string, headers ...batch.Header) {
	topic := mustMake(s.t, s.b, name)
	s.n++
	var b batch.Builder
	value := fmt.Sprint(name, " ", s.n)
	b.Add(time.Now().UnixMilli(), nil, []byte(value), headers...)
	b.Add(time.Now().UnixMilli(), nil, make([]byte, s.random.IntN(300)), headers...)
	b.Close(0)
	at := s.random.IntN(len(topic.Partitions()))
	done := make(chan error, 1)
	if err := begin(s.b, topic, at, b.Bytes(), func(_ int64, err error) { done <- err }); err != nil {
		s.t.Fatal(err)
	}
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
	s.values[value] = true
}

// act does something.
func (s *shop) act() {
	orders := mustMake(s.t, s.b, "orders")
	switch s.random.IntN(8) {
	case 0, 1, 2:
		s.publish("orders")
	case 3:
		s.publish("jobs", deliverAtHeader(time.Now().Add(time.Duration(1+s.random.IntN(30))*time.Minute)))
	case 4:
		for i, p := range orders.Partitions() {
			_, high := p.Offsets()
			mustCommit(s.t, s.b, "billing", group.Commit{Topic: "orders", Partition: i, Offset: high, LeaderEpoch: group.NoEpoch})
			s.committed[i] = high
		}
	case 5:
		s.publish(fmt.Sprint("later-", s.n))
	case 6:
		if n := len(orders.Partitions()); n < 5 {
			if err := s.b.AddPartitions("orders", n+1); err != nil {
				s.t.Fatal(err)
			}
		}
	case 7:
		time.Sleep(time.Duration(s.random.IntN(10)) * time.Minute) // in the bubble, where time passes at once
	}
}

// missing are the values of which the broker has none.
func (s *shop) missing(values map[string]bool) map[string]bool {
	values = maps.Clone(values)
	for _, topic := range s.b.Topics() {
		for _, p := range topic.Partitions() {
			for start, high := p.Offsets(); start < high; start++ {
				err := broker.WithRecord(p, start, func(r *batch.Record) error {
					delete(values, string(r.Value))
					return nil
				})
				if err != nil && !isMissing(err) {
					s.t.Fatal(err)
				}
			}
		}
	}
	return values
}

// A copy that was made while the broker was used opens with all that had been acknowledged when
// it was begun, in whatever order its files were copied, and the broker goes on with it.
func TestCopyInAnyOrderHasWhatWasAcknowledgedBefore(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 8))
			disk, small := crashfs.New(), commitlog.Options{SegmentBytes: 2500}
			s := &shop{t: t, random: random, values: make(map[string]bool), committed: make(map[int]int64)}
			s.b = mustOpen(t, setup{disk: disk, log: small})
			for range 30 + random.IntN(30) {
				s.act()
			}
			values, committed := maps.Clone(s.values), maps.Clone(s.committed)
			c := copier{disk, crashfs.New(), random, []string{"/data/"}}
			for most := 1 + random.IntN(4); c.step(t); {
				for range random.IntN(most) {
					s.act()
				}
			}
			mustClose(t, s.b)
			s.b = mustOpen(t, setup{disk: c.to, log: small})
			defer func() { mustClose(t, s.b) }()
			for i, offset := range committed {
				if c, _ := s.b.CommittedOffset("billing", "orders", i); c.Offset < offset {
					t.Errorf("seed %d: partition %d is committed up to %d, not %d", seed, i, c.Offset, offset)
				}
			}
			s.publish("orders")
			time.Sleep(time.Hour) // in the bubble: delayed messages are delivered
			synctest.Wait()
			if lost := s.missing(values); len(lost) > 0 {
				t.Errorf("seed %d: of %d lost are %v", seed, len(values), slices.Collect(maps.Keys(lost)))
			}
		})
	}
}

// Such a copy has the users as they were, or as they became. If a change that was made meanwhile may be missing the broker does
// not start, because the change may have taken something away.
func TestCopyHasTheUsersFromBeforeOrDoesNotStart(t *testing.T) {
	started := 0
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 9))
		from := setup{disk: crashfs.New(), log: commitlog.Options{SegmentBytes: 2500}}
		b := mustOpen(t, from)
		changes := 0
		change := func() {
			mustGrant(t, b, fmt.Sprint("user", changes%5), auth.Publish, fmt.Sprint("topic", changes))
			changes++
		}
		for range 1 + random.IntN(40) {
			change()
		}
		before := changes
		c := copier{from.disk, crashfs.New(), random, []string{"/data/"}}
		for most := 1 + random.IntN(2); c.step(t); {
			for range random.IntN(most) {
				change()
			}
		}
		mustClose(t, b)
		b, err := open(setup{disk: c.to, log: from.log})
		if _, _, missing := store.Missing(err); missing && changes > before {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		started++
		for i := range before {
			if !b.Users().May(fmt.Sprint("user", i%5), auth.Publish, auth.Topic, fmt.Sprint("topic", i)) {
				t.Errorf("seed %d: change %d of %d that were made before the copy is lost", seed, i, before)
			}
		}
		mustClose(t, b)
	}
	if started < 50 {
		t.Errorf("%d of 100 copies can be used", started)
	}
}
