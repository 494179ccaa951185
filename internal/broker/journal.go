package broker

import (
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
	losses  losses          // set at the start
	damaged bool            // a part of the log can't be read

	unusable error          // why there is no log, though there was one; set at the start
	missing  map[string]int // by topic: positions that were kept because it is missing; set at the start

	relied relied
	logs   map[store.Partition]group.Key // scratch: those that entries rely on
	list   []store.Partition             // the same
	took   time.Duration                 // to sync them
}

// A journal that has to wait for the syncs of other logs is written less often, so that
// these take a fifth of the time at most: but not less often than this.
const longestPause = 100 * time.Millisecond

// pause is the time between two writes.
func (j *journal) pause(usual time.Duration) time.Duration {
	return max(usual, min(4*j.took, longestPause))
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
	time.Sleep(time.Until(j.last.Add(j.pause(b.Limits.JournalPause))))
	j.last = time.Now()
	if j.due(len(entries)) { // before entries are written: what the groups say may be older
		b.compactPositions()
	}
	b.secure(entries)
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

// compactPositions compacts the journal.
func (b *Broker) compactPositions() {
	j := &b.journal
	err := b.rewritePositions(b.lossEntries())
	switch {
	case err != nil:
		b.Log.Warn("the groups' positions could not be compacted", "reason", err)
	case j.damaged:
		j.damaged = false
		b.Log.Warn("the damaged part of the groups' positions was removed when they were compacted", "topic", PositionsTopic)
	}
}

// rewritePositions writes all positions once more, a piece at a time, and more with them, and
// trims the log to them. Those of topics that are missing are among them.
func (b *Broker) rewritePositions(more []group.Entry) error {
	j := &b.journal
	_, start := j.log.Offsets()
	records, bytes := j.records, j.bytes
	var piece []group.Entry
	size := 0
	flush := func() error {
		if len(piece) == 0 {
			return nil
		}
		b.secure(piece)
		_, err := j.append(piece)
		piece, size = piece[:0], 0
		return err
	}
	add := func(e group.Entry) error {
		piece = append(piece, e)
		if size += e.Size(); size < journalPiece {
			return nil
		}
		return flush()
	}
	for _, e := range more {
		if err := add(e); err != nil {
			return err
		}
	}
	for _, g := range b.groups.List() {
		if !g.Kept {
			continue
		}
		for _, e := range b.groups.Of(g.Name) {
			if err := add(e); err != nil {
				return err
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
