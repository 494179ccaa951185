package broker

import (
	"iter"
	"log/slog"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/store"
)

// PositionsTopic is the internal topic that keeps the groups' positions. It is compacted: when
// enough of its records are out of date, all positions are appended once more and the log is
// trimmed to them.
const PositionsTopic = "__consumer_offsets"

// A positionsLog makes positions durable, in the log of PositionsTopic. It is for the goroutine
// that writes, after the start.
type positionsLog struct {
	log    *Partition                   // nil until the first write
	create func() (*Partition, error)   // creates the log
	logOf  func(group.Entry) *Partition // of the partition that an entry is a position in; nil for none
	report *slog.Logger
	limits Limits

	last    time.Time // of the last write
	records int       // written by the last compaction and since
	bytes   int64     // of those records
	kept    int       // records that the last compaction wrote
	size    int64     // bytes of those
	failing bool      // the last write has failed
	damaged bool      // a part of the log can't be read

	syncs logSyncs
	logs  map[*Partition]group.Key // scratch of secure
	list  []*Partition             // the same
	took  time.Duration            // of the last secure
}

// newPositionsLog makes one without a log.
func newPositionsLog(b *Broker) *positionsLog {
	return &positionsLog{
		logOf: b.logOf, report: b.Log, limits: b.Limits, logs: make(map[*Partition]group.Key),
		create: func() (*Partition, error) {
			t, err := b.createTopic(PositionsTopic, 1, nil)
			if err != nil {
				return nil, err
			}
			return t.Partitions()[0], nil
		},
	}
}

// pause is the time between two writes.
func (j *positionsLog) pause(usual time.Duration) time.Duration {
	return max(usual, min(4*j.took, maxPositionsPause))
}

// due reports whether the positions log is to be compacted before n more records.
func (j *positionsLog) due(n int) bool {
	return j.records+n >= max(compactAfter, 4*j.kept) || j.bytes >= max(compactBytes, 4*j.size)
}

// write makes entries durable. all are the latest ones, for a compaction.
func (j *positionsLog) write(entries []group.Entry, all iter.Seq[group.Entry]) (err error) {
	if j.log == nil {
		if j.log, err = j.create(); err != nil {
			return j.notKept(entries, err)
		}
	}
	time.Sleep(time.Until(j.last.Add(j.pause(j.limits.PositionsPause))))
	j.last = time.Now()
	if j.due(len(entries)) { // before entries are written, because all may have older positions than these
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

// notKept logs, once until the next success, that entries are not durable.
func (j *positionsLog) notKept(entries []group.Entry, err error) error {
	if j.failing || store.Ended(err) {
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
func (j *positionsLog) append(entries []group.Entry) (int64, error) {
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

// compact replaces the positions log by the latest entries.
func (j *positionsLog) compact(all iter.Seq[group.Entry]) {
	err := j.rewrite(all)
	switch {
	case store.Ended(err):
	case err != nil:
		j.report.Warn("the groups' positions could not be compacted: their log grows until the next attempt", "topic", PositionsTopic, "bytes", j.bytes, "reason", err)
	case j.damaged:
		j.damaged = false
		j.report.Warn("the damaged part of the groups' positions was removed when they were compacted", "topic", PositionsTopic)
	}
}

// rewrite appends all entries once more, in writes of compactWrite bytes, and trims the log to
// them.
func (j *positionsLog) rewrite(all iter.Seq[group.Entry]) error {
	_, start := j.log.Offsets()
	records, bytes := j.records, j.bytes
	var next []group.Entry // of the next write
	size := 0
	flush := func() error {
		if len(next) == 0 {
			return nil
		}
		j.secure(next)
		_, err := j.append(next)
		next, size = next[:0], 0
		return err
	}
	for e := range all {
		next = append(next, e)
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
