package broker

import (
	"iter"
	"log/slog"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
)

// PositionsTopic is the internal topic that keeps the groups' positions. It is
// compacted: when enough of its records are out of date, the latest of each
// position are written once more and what lies before is trimmed.
const PositionsTopic = "__consumer_offsets"

// A journal makes positions durable, in the log of PositionsTopic. It is for the goroutine
// that writes, after the start.
type journal struct {
	log    *Partition                   // nil until there is something to keep
	make   func() (*Partition, error)   // makes the log
	logOf  func(group.Entry) *Partition // that an entry relies on; nil for none
	report *slog.Logger
	limits Limits

	last    time.Time // of the last write
	records int       // since the last compaction, or in it
	bytes   int64     // of those
	kept    int       // positions that the last compaction wrote
	size    int64     // bytes of those
	failing bool      // the last write has failed
	damaged bool      // a part of the log can't be read

	relied relied
	logs   map[*Partition]group.Key // scratch: those that entries rely on
	list   []*Partition             // the same
	took   time.Duration            // to sync them
}

// newJournal makes one without a log.
func newJournal(b *Broker) *journal {
	return &journal{
		logOf: b.logOf, report: b.Log, limits: b.Limits, logs: make(map[*Partition]group.Key),
		make: func() (*Partition, error) {
			t, err := b.createTopic(PositionsTopic, 1, nil)
			if err != nil {
				return nil, err
			}
			return t.Partitions()[0], nil
		},
	}
}

// pause is the time between two writes.
func (j *journal) pause(usual time.Duration) time.Duration {
	return max(usual, min(4*j.took, maxJournalPause))
}

// due says whether the journal is to be compacted before n records more.
func (j *journal) due(n int) bool {
	return j.records+n >= max(compactAfter, 4*j.kept) || j.bytes >= max(compactBytes, 4*j.size)
}

// write makes entries durable. all are the latest ones, for a compaction.
func (j *journal) write(entries []group.Entry, all iter.Seq[group.Entry]) (err error) {
	if j.log == nil {
		if j.log, err = j.make(); err != nil {
			return j.notKept(entries, err)
		}
	}
	time.Sleep(time.Until(j.last.Add(j.pause(j.limits.JournalPause))))
	j.last = time.Now()
	if j.due(len(entries)) { // before entries are written: what the groups say may be older
		j.compact(all)
	}
	j.secure(entries)
	if _, err := j.append(entries); err != nil {
		return j.notKept(entries, err)
	}
	if j.failing {
		j.failing = false
		j.report.Info("positions are kept again")
	}
	return nil
}

// notKept logs that entries are not durable, once until others are.
func (j *journal) notKept(entries []group.Entry, err error) error {
	if j.failing {
		return err
	}
	j.failing = true
	first := entries[0]
	j.report.Error("positions could not be kept: after a restart messages will come again", "positions", len(entries),
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
	base, err := j.log.AppendAndWait(builder.Bytes())
	if err == nil {
		j.records += len(entries)
		j.bytes += int64(len(builder.Bytes()))
	}
	return base, err
}

// compact replaces the journal by the latest entries.
func (j *journal) compact(all iter.Seq[group.Entry]) {
	err := j.rewrite(all)
	switch {
	case err != nil:
		j.report.Warn("the groups' positions could not be compacted", "reason", err)
	case j.damaged:
		j.damaged = false
		j.report.Warn("the damaged part of the groups' positions was removed when they were compacted", "topic", PositionsTopic)
	}
}

// rewrite writes all entries once more, a piece at a time, and trims the log to them.
func (j *journal) rewrite(all iter.Seq[group.Entry]) error {
	_, start := j.log.Offsets()
	records, bytes := j.records, j.bytes
	var piece []group.Entry
	size := 0
	flush := func() error {
		if len(piece) == 0 {
			return nil
		}
		j.secure(piece)
		_, err := j.append(piece)
		piece, size = piece[:0], 0
		return err
	}
	for e := range all {
		piece = append(piece, e)
		if size += e.Size(); size < compactWrite {
			continue
		}
		if err := flush(); err != nil {
			return err
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
