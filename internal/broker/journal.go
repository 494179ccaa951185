package broker

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/store"
)

// PositionsTopic is the internal topic that keeps the groups' positions. It is
// compacted: when enough of its records are out of date, the latest of each
// position are written once more and what lies before is trimmed.
const PositionsTopic = "__consumer_offsets"

// compactAfter is the number of records, at the least, that the journal takes
// before it is compacted; more when there are many positions, so that the cost
// of compaction stays a fraction of that of writing.
const compactAfter = 20_000

// A journal is what the broker keeps about the positions' topic. It is for the
// goroutine that writes, after the start.
type journal struct {
	log     store.Partition // nil until there is something to keep
	last    time.Time       // of the last write
	records int             // since the last compaction
	kept    int             // positions that the last compaction wrote
}

// record is the group.Write: it makes states durable.
func (b *Broker) record(entries []group.Entry) error {
	j := &b.journal
	if j.log == nil {
		t, err := b.createTopic(PositionsTopic, 1)
		if err != nil {
			return b.notKept(entries, err)
		}
		j.log = t.Partitions[0]
	}
	time.Sleep(time.Until(j.last.Add(b.Limits.JournalPause)))
	j.last = time.Now()
	if _, err := j.append(entries); err != nil {
		return b.notKept(entries, err)
	}
	j.records += len(entries)
	if j.records >= max(compactAfter, 4*j.kept) {
		if err := j.compact(b.groups.All()); err != nil {
			b.Log.Warn("the groups' positions could not be compacted", "reason", err)
		}
	}
	return nil
}

func (b *Broker) notKept(entries []group.Entry, err error) error {
	first := entries[0]
	b.Log.Error("positions could not be kept: after a restart messages will come again", "positions", len(entries),
		"group", first.Group, "topic", first.Topic, "partition", first.Partition, "reason", err)
	return err
}

// append writes entries and waits until they are durable. It returns the offset
// of the first one.
func (j *journal) append(entries []group.Entry) (int64, error) {
	var builder batch.Builder
	now := time.Now().UnixMilli()
	for _, e := range entries {
		var value []byte
		if !e.Gone {
			value = e.AppendValue(nil, now)
		}
		builder.Add(now, e.AppendKey(nil), value)
		if builder.OpenSize() >= TargetBatch {
			builder.Close(0)
		}
	}
	builder.Close(0)
	return store.AppendAndWait(j.log, builder.Bytes())
}

// compact writes all positions once more and trims the log to them.
func (j *journal) compact(all []group.Entry) error {
	_, base := j.log.Offsets()
	if len(all) > 0 {
		var err error
		if base, err = j.append(all); err != nil {
			return err
		}
	}
	j.records, j.kept = 0, len(all)
	return j.log.Trim(base)
}

// loadPositions reads the journal. Damage is fatal: to go on would be to deliver
// again, or to skip, what nobody asked for.
func (b *Broker) loadPositions() error {
	t, err := b.Topic(PositionsTopic)
	if errors.Is(err, store.ErrUnknownTopic) {
		return nil
	}
	log := t.Partitions[0]
	b.journal.log = log
	states := make(map[group.Key]group.State)
	var it batch.Iterator
	start, _ := log.Offsets()
	if err := walk(log, start, stopAt, func(bt batch.Batch) (bool, error) {
		return true, b.replay(bt, &it, states)
	}); err != nil {
		return err
	}
	for k, s := range states {
		b.groups.Load(k, s)
	}
	return b.forgetOrphans()
}

// forgetOrphans deletes the positions of topics that do not exist: they were
// deleted, and a crash came in between. A topic that is made later with the same
// name must not find them.
func (b *Broker) forgetOrphans() error {
	b.groups.Delete(func(k group.Key) bool {
		_, err := b.Topic(k.Topic)
		return err != nil
	})
	return b.AwaitPositions()
}

// replay puts the records of a batch into states.
func (b *Broker) replay(bt batch.Batch, it *batch.Iterator, states map[group.Key]group.State) error {
	if err := it.Reset(bt); err != nil {
		return err
	}
	for it.Next() {
		r := it.Record()
		k, err := group.ParseKey(r.Key)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		b.journal.records++
		if r.Value == nil { // deleted
			delete(states, k)
			continue
		}
		if states[k], err = group.ParseValue(r.Value); err != nil {
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
	}
	return it.Err()
}
