package storetest

import (
	"fmt"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// The tests pass where the store is no store.Restorer.
var restoreTests = []test{
	{"a topic is as it was elsewhere", restoresTopic},
	{"one without records begins where it was to", restoresEmptyTopic},
	{"later topics and partitions have higher epochs", passesRestoredEpochs},
	{"a restored topic can be trimmed, deleted, and restored again", restoresDeletedTopic},
	{"what can't be restored is refused", refusesRestore},
}

// elsewhere is a topic of another store, whose partitions were added in two steps.
func elsewhere(name string) store.Topic {
	t := store.Topic{Name: name, Partitions: 2, Epoch: 1<<30 + 5, Config: `{"retention.ms":"60000"}`}
	copy(t.ID[:], name+"0123456789abcdef")
	t.ID[6], t.ID[8] = 0x40, 0x80
	t.Grow(3, 1<<30+50)
	return t
}

// restore restores a topic, and adds it to the model. It returns nil if the store can't do that.
func (f *fixture) restore(t store.Topic, firsts ...int64) *topic {
	f.Helper()
	s, ok := f.Store.(store.Restorer)
	if !ok {
		return nil
	}
	if err := s.Restore(t, firsts); err != nil {
		f.Fatalf("restore topic %q: %v", t.Name, err)
	}
	m := &topic{Topic: t}
	for _, first := range firsts {
		m.logs = append(m.logs, &log{t: f.T, now: f.now, start: first, next: first})
	}
	f.topics[t.Name] = m
	f.connect()
	return m
}

func restoresTopic(f *fixture) {
	m := f.restore(elsewhere("orders"), 0, 70_000, 1<<40)
	if m == nil {
		return
	}
	f.check()
	for range 20 { // of more than one segment
		for i, l := range m.logs {
			base := l.append(f.Batch(5, 100))
			stamped := l.batches[len(l.batches)-1].Bytes
			if e := batch.Batch(stamped).LeaderEpoch(); e != m.PartitionEpoch(i) || base != l.next-5 {
				f.Errorf("partition %d: a batch has the offset %d and the epoch %d", i, base, e)
			}
		}
	}
	f.check()
	f.restart()
	for _, l := range m.logs {
		l.append(f.Batch(5, 100))
		l.trim(l.start + 3) // in the middle of a batch
	}
	f.check()
	f.restart()
}

func restoresEmptyTopic(f *fixture) {
	m := f.restore(elsewhere("orders"), 0, 70_000, 1<<40)
	if m == nil {
		return
	}
	for range 2 {
		f.restart()
	}
	for _, l := range m.logs {
		f.refuses("read below the first offset", l.Read(l.start-1, 1, new(store.Chunk)), store.ErrOutOfRange)
		l.append(f.Batch(1, 10))
	}
	f.check()
}

func passesRestoredEpochs(f *fixture) {
	t := elsewhere("orders")
	if f.restore(t, 0, 0, 0) == nil {
		return
	}
	f.restart()
	if m := f.create("later", 1); m.Epoch <= t.Epochs[0].Epoch {
		f.Errorf("a later topic has the epoch %d, the restored one %d", m.Epoch, t.Epochs[0].Epoch)
	}
	f.grow("orders", 4)
	if m := f.topics["orders"]; m.PartitionEpoch(3) <= f.topics["later"].Epoch {
		f.Errorf("a later partition has the epoch %d, one before it %d", m.PartitionEpoch(3), f.topics["later"].Epoch)
	}
	f.topics["orders"].logs[3].append(f.Batch(1, 10))
}

func restoresDeletedTopic(f *fixture) {
	t := elsewhere("orders")
	for range 2 {
		m := f.restore(t, 5, 5, 5)
		if m == nil {
			return
		}
		for _, l := range m.logs {
			l.append(f.Batch(5, 100), f.Batch(5, 100))
			l.trim(12)
		}
		f.restart()
		f.delete("orders")
		f.restart()
	}
	f.create("orders", 1).logs[0].append(f.Batch(1, 10))
}

func refusesRestore(f *fixture) {
	s, ok := f.Store.(store.Restorer)
	if !ok {
		return
	}
	f.create("orders", 1)
	f.refuses("restore over a topic", s.Restore(elsewhere("orders"), []int64{0, 0, 0}), store.ErrTopicExists)
	for _, firsts := range [][]int64{nil, {0, 0}, {0, 0, -1}} {
		if err := s.Restore(elsewhere("billing"), firsts); err == nil {
			f.Errorf("a topic of 3 partitions was restored that begin at %d", firsts)
		}
	}
	if names := f.Topics(); !slices.ContainsFunc(names, func(t store.Topic) bool { return t.Name == "orders" }) || len(names) != 1 {
		f.Error(fmt.Sprint("topics are ", names))
	}
}
