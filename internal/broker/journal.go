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
// before it is compacted, and compactBytes that of bytes; more when there are many
// positions, so that the cost of compaction stays a fraction of that of writing.
const (
	compactAfter = 20_000
	compactBytes = 32 << 20
)

// journalPiece is how much is written at once when the journal is compacted, about,
// in bytes: it bounds what that takes in memory.
const journalPiece = 1 << 20

// A journal is what the broker keeps about the positions' topic. It is for the
// goroutine that writes, after the start.
type journal struct {
	log     store.Partition // nil until there is something to keep
	last    time.Time       // of the last write
	records int             // since the last compaction, or in it
	bytes   int64           // of those
	kept    int             // positions that the last compaction wrote
	size    int64           // bytes of those
	failing bool            // the last write has failed
}

// due says whether the journal is to be compacted before n records more.
func (j *journal) due(n int) bool {
	return j.records+n >= max(compactAfter, 4*j.kept) || j.bytes >= max(compactBytes, 4*j.size)
}

// record is the group.Write: it makes states durable.
func (b *Broker) record(entries []group.Entry) error {
	j := &b.journal
	if j.log == nil {
		t, err := b.createTopic(PositionsTopic, 1, nil)
		if err != nil {
			return b.notKept(entries, err)
		}
		j.log = t.Partitions()[0]
	}
	time.Sleep(time.Until(j.last.Add(b.Limits.JournalPause)))
	j.last = time.Now()
	if j.due(len(entries)) { // before entries are written: what the groups say may be older
		if err := j.compact(b.groups); err != nil {
			b.Log.Warn("the groups' positions could not be compacted", "reason", err)
		}
	}
	if _, err := j.append(entries); err != nil {
		return b.notKept(entries, err)
	}
	if j.failing {
		j.failing = false
		b.Log.Info("positions are kept again")
	}
	return nil
}

// notKept says so, once until positions are kept again.
func (b *Broker) notKept(entries []group.Entry, err error) error {
	if b.journal.failing {
		return err
	}
	b.journal.failing = true
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
	base, err := store.AppendAndWait(j.log, builder.Bytes())
	if err == nil {
		j.records += len(entries)
		j.bytes += int64(len(builder.Bytes()))
	}
	return base, err
}

// compact writes all positions once more, a piece at a time, and trims the log to
// them.
func (j *journal) compact(groups *group.Groups) error {
	_, start := j.log.Offsets()
	records, bytes := j.records, j.bytes
	var piece []group.Entry
	size := 0
	flush := func() error {
		if len(piece) == 0 {
			return nil
		}
		_, err := j.append(piece)
		piece, size = piece[:0], 0
		return err
	}
	for _, g := range groups.List() {
		if !g.Kept {
			continue
		}
		for _, e := range groups.Of(g.Name) {
			piece = append(piece, e)
			if size += e.Size(); size >= journalPiece {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	j.records -= records
	j.bytes -= bytes
	j.kept, j.size = j.records, j.bytes
	return j.log.Trim(start)
}

// loadPositions reads the journal. Damage is fatal: to go on would be to deliver
// again, or to skip, what nobody asked for.
func (b *Broker) loadPositions() error {
	t, err := b.Topic(PositionsTopic)
	if errors.Is(err, store.ErrUnknownTopic) {
		return nil
	}
	log := t.Partitions()[0]
	b.journal.log = log
	states := make(map[group.Key]group.State)
	var it batch.Iterator
	start, _ := log.Offsets()
	if err := walk(log, start, stopAt, func(bt batch.Batch) (bool, error) {
		b.journal.bytes += int64(len(bt))
		return true, b.replay(bt, &it, states)
	}); err != nil {
		return err
	}
	orphans := make(map[group.Key]bool)
	for k, s := range states {
		t, err := b.Topic(k.Topic)
		if err == nil && s.TopicID == (group.ID{}) { // kept by an older version
			s.TopicID = t.ID
		}
		if err != nil || s.TopicID != t.ID {
			orphans[k] = true
		}
		b.groups.Load(k, s)
	}
	return b.forget(orphans)
}

// forget deletes the positions of topics that do not exist: they were deleted, and
// a crash came in between. A topic that was made since with the same name, or is
// later, must not find them.
func (b *Broker) forget(orphans map[group.Key]bool) error {
	if len(orphans) == 0 {
		return nil
	}
	b.groups.DeleteAll(func(k group.Key) bool { return orphans[k] })
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
