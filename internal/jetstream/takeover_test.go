package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

func createTopic(t testing.TB, s *Store, name string, partitions int) (list []store.Partition) {
	t.Helper()
	if _, err := s.CreateTopic(name, partitions, ""); err != nil {
		t.Fatal(err)
	}
	return partitionsOf(t, s, name, partitions)
}

func partitionsOf(t testing.TB, s *Store, name string, partitions int) (list []store.Partition) {
	t.Helper()
	for i := range partitions {
		p, err := s.Partition(name, i)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// fill appends records with the values 0 to n-1 to a partition, ten at a time.
func fill(t testing.TB, p store.Partition, from, n int) {
	t.Helper()
	for i := from; i < n; i += 10 {
		var b batch.Builder
		for j := i; j < min(i+10, n); j++ {
			b.Add(int64(j), nil, fmt.Appendf(nil, "%d", j))
		}
		b.Close(0)
		if _, err := store.AppendAndWait(p, bytes.Clone(b.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
}

// holdsValues checks that the values of a partition are 0 to n-1.
func holdsValues(t testing.TB, p store.Partition, n int) {
	t.Helper()
	next := 0
	err := eachValue(p, func(offset int64, value string) {
		if offset != int64(next) || value != fmt.Sprint(next) {
			t.Errorf("offset %d has %q, want %d", offset, value, next)
		}
		next++
	})
	if _, high := p.Offsets(); err != nil || next != n || high != int64(n) {
		t.Errorf("%d of %d records are read, the high watermark is %d: %v", next, n, high, err)
	}
}

func eachValue(p store.Partition, f func(offset int64, value string)) error {
	return store.Walk(p, 0, func(err error) error { return err }, func(b batch.Batch) (bool, error) {
		var it batch.Iterator
		if err := it.Reset(b); err != nil {
			return false, err
		}
		for it.Next() {
			f(it.Record().Offset, string(it.Record().Value))
		}
		return true, it.Err()
	})
}

// Owners that do not know that they are no longer go on writing while others take over.
func TestTakeoversFromOwnersThatGoOnWriting(t *testing.T) {
	takeovers := 60
	if testing.Short() {
		takeovers = 6
	}
	engines := startEngines(t, 3)
	const partitions = 3
	createTopic(t, takeOver(t, engines[0], defaultSizes), "orders", partitions)
	var mu sync.Mutex
	var acknowledged [partitions]map[string]int64
	for i := range acknowledged {
		acknowledged[i] = make(map[string]int64)
	}
	var writers sync.WaitGroup
	for n := range takeovers {
		s := takeOver(t, engines[n%3], defaultSizes)
		for i, p := range partitionsOf(t, s, "orders", partitions) {
			writers.Go(func() {
				for j := 0; ; j++ {
					value := fmt.Sprint(n, " ", j)
					base, err := store.AppendAndWait(p, oneRecord(value))
					if err != nil {
						if !errors.Is(err, store.ErrMoved) {
							t.Errorf("%q: %v", value, err)
						}
						return
					}
					mu.Lock()
					acknowledged[i][value] = base
					mu.Unlock()
				}
			})
		}
		time.Sleep(20 * time.Millisecond) // in which they write
	}
	s := takeOver(t, engines[0], defaultSizes)
	writers.Wait()
	for i, p := range partitionsOf(t, s, "orders", partitions) {
		found := make(map[string]int64)
		next := int64(0)
		if err := eachValue(p, func(offset int64, value string) {
			if _, twice := found[value]; twice || offset != next {
				t.Errorf("partition %d: %q is at offset %d, which is to be %d; is it there twice: %v", i, value, offset, next, twice)
			}
			found[value] = offset
			next++
		}); err != nil {
			t.Error(err)
		}
		for value, base := range acknowledged[i] {
			if at, ok := found[value]; !ok || at != base {
				t.Errorf("partition %d: %q was acknowledged at offset %d, and is at %d, %v", i, value, base, at, ok)
			}
		}
		if len(acknowledged[i]) < takeovers {
			t.Errorf("partition %d: only %d messages were acknowledged", i, len(acknowledged[i]))
		}
	}
}

func TestOwnershipIsLostToAClaimWithoutAWrite(t *testing.T) {
	engines := startEngines(t, 3)
	first := takeOver(t, engines[0], defaultSizes)
	p := createTopic(t, first, "orders", 1)[0]
	second := takeOver(t, engines[1], defaultSizes)
	if second.Epoch() <= first.Epoch() {
		t.Errorf("the epoch of the second is %d, of the first %d", second.Epoch(), first.Epoch())
	}
	select {
	case <-first.Lost():
	case <-time.After(20 * time.Second):
		t.Fatal("the first does not notice")
	}
	eventually(t, func() bool { _, err := first.Partition("orders", 0); return errors.Is(err, store.ErrMoved) })
	if err := p.Trim(0); !errors.Is(err, store.ErrMoved) {
		t.Errorf("trim: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

// Whatever an old owner changes in the catalog is refused, also before it knows.
func TestOldOwnerChangesNothingInTheCatalog(t *testing.T) {
	engines := startEngines(t, 3)
	for name, change := range map[string]func(*Store) error{
		"create":    func(s *Store) error { _, err := s.CreateTopic("new", 1, ""); return err },
		"grow":      func(s *Store) error { _, err := s.AddPartitions("orders", 2); return err },
		"configure": func(s *Store) error { return s.Configure("orders", `{"a":"1"}`) },
		"delete":    func(s *Store) error { return s.DeleteTopic("orders") },
		"note":      func(s *Store) error { return s.KeepNote([]byte("old")) },
	} {
		first := takeOver(t, engines[0], defaultSizes)
		if _, err := first.find("orders"); err != nil {
			createTopic(t, first, "orders", 1)
		}
		first.unwatch() // it does not hear of the second
		first.unwatch = func() {}
		second := takeOver(t, engines[1], defaultSizes)
		if err := change(first); !errors.Is(err, store.ErrMoved) {
			t.Errorf("%s: %v", name, err)
		}
		third := takeOver(t, engines[2], defaultSizes)
		if a, b := second.Topics(), third.Topics(); len(a) != 1 || len(b) != 1 || !a[0].Equal(&b[0]) || len(third.Note()) > 0 {
			t.Errorf("%s: there were %v, and are %v, with the note %q", name, a, b, third.Note())
		}
	}
}

func TestTopicsAfterAllServersHaveStopped(t *testing.T) {
	options := testOptions(t, 3)
	var engines []*Engine
	const records = 2000
	for round := range 3 {
		engines = nil
		for _, o := range options {
			engines = append(engines, startEngine(t, o))
		}
		for _, e := range engines {
			waitReady(t, e)
		}
		s := takeOver(t, ownerOf(t, engines), testSizes)
		if round == 0 {
			createTopic(t, s, "orders", 2)
			createTopic(t, s, "__consumer_offsets", 1)
		}
		for _, name := range []string{"orders", "__consumer_offsets"} {
			p := partitionsOf(t, s, name, 1)[0]
			holdsValues(t, p, round*records)
			fill(t, p, round*records, (round+1)*records)
		}
		for _, e := range engines { // not the Store before: as if all lost power at once
			e.Stop()
		}
	}
}

// A byte of one replica's file is not what was written. All can be read all the same.
func TestDamageInTheFilesOfOneReplica(t *testing.T) {
	options := testOptions(t, 3)
	start := func() (engines []*Engine) {
		for _, o := range options {
			engines = append(engines, startEngine(t, o))
		}
		for _, e := range engines {
			waitReady(t, e)
		}
		return engines
	}
	engines := start()
	s := takeOver(t, ownerOf(t, engines), testSizes)
	const records = 3000
	fill(t, createTopic(t, s, "orders", 1)[0], 0, records)
	stream := streamOf(s.topics["orders"].ID, 0)
	for _, e := range engines {
		e.Stop()
	}
	for damaged := range 3 {
		flipBytes(t, options[damaged].Dir, stream)
		engines = start()
		s = takeOver(t, ownerOf(t, engines), testSizes)
		p := partitionsOf(t, s, "orders", 1)[0]
		holdsValues(t, p, records)
		for offset := int64(0); offset < records; offset += 97 {
			var c store.Chunk
			if err := p.Read(offset, 1, &c); err != nil || c.First > offset || c.Next <= offset {
				t.Errorf("read at %d gives %d to %d: %v", offset, c.First, c.Next, err)
			}
			c.Release()
		}
		if _, err := store.AppendAndWait(p, oneRecord("more")); err != nil {
			t.Error(err)
		}
		if err := p.Trim(records + 1); err != nil { // from here on it begins again
			t.Error(err)
		}
		if damaged == 2 {
			return
		}
		if err := s.DeleteTopic("orders"); err != nil {
			t.Error(err)
		}
		fill(t, createTopic(t, s, "orders", 1)[0], 0, records)
		stream = streamOf(s.topics["orders"].ID, 0)
		for _, e := range engines {
			e.Stop()
		}
	}
}

// flipBytes damages the messages of a stream in the files of a stopped server.
func flipBytes(t *testing.T, dir, stream string) {
	t.Helper()
	flipped := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, stream) || filepath.Ext(path) != ".blk" {
			return err
		}
		p, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, at := range []int{len(p) / 3, len(p) / 2} {
			if i := bytes.Index(p[at:], []byte(prefixMagic)); i > 0 {
				p[at+i+prefixSize+batch.HeaderSize+20] ^= 1
				flipped++
			}
		}
		return os.WriteFile(path, p, 0o600)
	})
	if err != nil || flipped == 0 {
		t.Fatalf("%d bytes were changed in %q: %v", flipped, dir, err)
	}
}

// publishGarbage stores a message that no owner has written behind what a partition has.
func publishGarbage(t *testing.T, s *Store, at place) {
	t.Helper()
	pub := s.wire.publishing(at)
	defer pub.end()
	if err := pub.send(condition{}, []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if a := <-pub.answers(); a.err != nil {
		t.Fatal(a.err)
	}
}

func TestTakeoverWithAPartitionThatCannotBeOpened(t *testing.T) {
	engines := startEngines(t, 1)
	s := takeOver(t, engines[0], defaultSizes)
	fill(t, createTopic(t, s, "orders", 2)[1], 0, 100)
	publishGarbage(t, s, placeOf(&s.topics["orders"].Topic, 0))
	s = takeOver(t, engines[0], defaultSizes)
	list := partitionsOf(t, s, "orders", 2)
	holdsValues(t, list[1], 100)
	if _, err := list[0].Write(oneRecord("x"), nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("write: %v", err)
	}
	if err := list[0].(interface{ Available() error }).Available(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("available: %v", err)
	}
	if h := s.Health(); h.Failed != 1 || h.Failure == nil {
		t.Errorf("health is %+v", h)
	}
	if err := s.DeleteTopic("orders"); err != nil {
		t.Error(err)
	}
}

// Without the groups' positions nothing may be served.
func TestTakeoverFailsIfAnInternalLogCannotBeOpened(t *testing.T) {
	engines := startEngines(t, 1)
	s := takeOver(t, engines[0], defaultSizes)
	fill(t, createTopic(t, s, "__consumer_offsets", 1)[0], 0, 100)
	publishGarbage(t, s, placeOf(&s.topics["__consumer_offsets"].Topic, 0))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s, err := engines[0].TakeOver(ctx); err == nil {
		t.Errorf("it has taken %d topics over", len(s.Topics()))
	}
}

func TestTakeoverFailsIfTheCatalogIsDamaged(t *testing.T) {
	engines := startEngines(t, 1)
	createTopic(t, takeOver(t, engines[0], defaultSizes), "orders", 1)
	if _, err := engines[0].SetValue(t.Context(), theShard.topicKey("other"), []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := engines[0].TakeOver(t.Context()); err == nil {
		t.Error("it has taken over")
	}
}

func TestStreamsOfNoTopicAreRemoved(t *testing.T) {
	engine := startEngines(t, 1)[0]
	s := takeOver(t, engine, defaultSizes)
	deleted, kept, unfinished := store.Topic{Name: "a", ID: newID(), Partitions: 1}, store.Topic{Name: "b", ID: newID(), Partitions: 1}, store.Topic{Name: "c", ID: newID(), Partitions: 1}
	for _, topic := range []*store.Topic{&deleted, &kept, &unfinished} {
		if err := s.makeStreams(topic, 0); err != nil {
			t.Fatal(err)
		}
		p := newPartition(s.owner, topic, 0, placeOf(topic, 0))
		if _, err := p.recover(t.Context()); err != nil { // which leaves a fence
			t.Fatal(err)
		}
		if topic != &unfinished {
			fill(t, p, 0, 10)
		}
	}
	e := entryOf(&topic{Topic: deleted})
	e.Deleted = true
	if err := s.setTopic(e); err != nil {
		t.Fatal(err)
	}
	takeOver(t, engine, defaultSizes)
	for _, topic := range []*store.Topic{&deleted, &unfinished} {
		eventually(t, func() bool {
			_, err := engine.streamInfo(t.Context(), streamOf(topic.ID, 0))
			return isCode(err, codeStreamNotFound)
		})
	}
	if _, err := engine.streamInfo(t.Context(), streamOf(kept.ID, 0)); err != nil {
		t.Errorf("messages of an unknown topic are gone: %v", err)
	}
}

// A topic has higher leader epochs than one of its name had before, whatever the clock says.
func TestLeaderEpochsAscend(t *testing.T) {
	engine := startEngines(t, 1)[0]
	last := int32(0)
	for i := range 3 {
		s := takeOver(t, engine, defaultSizes)
		s.UseClock(func() time.Time { return time.Unix(firstSecond+int64(1000-100*i), 0) })
		made, err := s.CreateTopic("orders", 3, "")
		if err != nil || made.Epoch <= last {
			t.Fatalf("made %+v after the epoch %d: %v", made, last, err)
		}
		if made, err = s.AddPartitions("orders", 5); err != nil {
			t.Fatal(err)
		}
		last = made.EpochsEnd() - 1
		if !s.Deleted([16]byte{1}) || s.Deleted(made.ID) {
			t.Error("a topic that there is counts as deleted, or one that there is not does not")
		}
		if err := s.DeleteTopic("orders"); err != nil || !s.Deleted(made.ID) {
			t.Errorf("deleted: %v; %v", s.Deleted(made.ID), err)
		}
	}
}

// Partitions that are added are in the streams of others, which had one subject until then.
func TestPartitionsShareStreams(t *testing.T) {
	engines := startEngines(t, 3)
	s := takeOver(t, ownerOf(t, engines), testSizes)
	fill(t, createTopic(t, s, "orders", 1)[0], 0, 100)
	for _, total := range []int{2, 9, 17} {
		stop := make(chan struct{})
		var writer sync.WaitGroup
		first := partitionsOf(t, s, "orders", 1)[0]
		_, high := first.Offsets()
		n := int(high)
		writer.Go(func() {
			for ; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				fill(t, first, n, n+1)
			}
		})
		if _, err := s.AddPartitions("orders", total); err != nil {
			t.Fatal(err)
		}
		for _, p := range partitionsOf(t, s, "orders", total)[1:] {
			_, high := p.Offsets()
			fill(t, p, int(high), int(high)+50)
		}
		close(stop)
		writer.Wait()
		holdsValues(t, first, n)
		s = takeOver(t, ownerOf(t, engines), testSizes)
	}
	for i, want := range map[int]int{1: 150, 7: 100, 8: 100, 9: 50, 16: 50} {
		holdsValues(t, partitionsOf(t, s, "orders", 17)[i], want)
	}
	names, err := s.engine.streamNames(t.Context(), "mb_t_")
	if err != nil || len(names) != 3 {
		t.Errorf("streams are %v: %v", names, err)
	}
}

// A claim that is damaged is not taken for none: epochs would begin again.
func TestClaimThatIsDamagedIsRefused(t *testing.T) {
	engine := startEngines(t, 1)[0]
	if _, err := engine.SetValue(t.Context(), theShard.claimKey(), []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.TakeOver(t.Context()); err == nil {
		t.Error("it has taken over")
	}
}

func TestClaimsAscend(t *testing.T) {
	engines := startEngines(t, 3)
	var mu sync.Mutex
	epochs := make(map[uint32]bool)
	var group sync.WaitGroup
	for _, e := range engines {
		group.Go(func() {
			for range 10 {
				_, epoch, err := e.claim(t.Context(), theShard)
				if errors.Is(err, ErrConflict) {
					continue
				}
				mu.Lock()
				if err != nil || epochs[epoch] {
					t.Errorf("epoch %d, which two have: %v; %v", epoch, epochs[epoch], err)
				}
				epochs[epoch] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	v, err := engines[0].Value(t.Context(), theShard.claimKey())
	var c claim
	if err == nil {
		err = json.Unmarshal(v.Data, &c)
	}
	if err != nil || int(c.Epoch) != len(epochs) {
		t.Errorf("the claim is %+v after %d: %v", c, len(epochs), err)
	}
}
