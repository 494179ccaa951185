package broker

import (
	"errors"
	"fmt"
	"sync"
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

// A journal is what the broker keeps about the positions' topic.
type journal struct {
	mu         sync.Mutex // guards what follows; not held while appending
	log        store.Partition
	records    int // since the last compaction
	positions  int // that the last compaction wrote
	compacting bool
}

// record is the group.Journal. done runs in a goroutine of its own: it may
// record the next state, and an Append may have to wait for the very sync that
// is being answered.
func (b *Broker) record(k group.Key, s group.State, done func(error)) {
	b.ended.Add(1) // until there is no later state
	answer := func(err error) {
		b.recorded(k, err)
		go func() {
			defer b.ended.Done()
			done(err)
		}()
	}
	log, err := b.positionsLog()
	if err == nil {
		var builder batch.Builder
		addState(&builder, k, s)
		builder.Close(0)
		err = log.Append(builder.Bytes(), func(_ int64, err error) { answer(err) })
	}
	if err != nil {
		answer(err)
	}
}

// recorded notes the outcome of a write, and compacts in time.
func (b *Broker) recorded(k group.Key, err error) {
	if err != nil {
		b.Log.Error("a position could not be kept: after a restart messages will come again",
			"group", k.Group, "topic", k.Topic, "partition", k.Partition, "reason", err)
		return
	}
	j := &b.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records++
	if j.records >= max(compactAfter, 4*j.positions) && !j.compacting {
		j.compacting = true
		b.ended.Go(func() { b.compact(j.log) })
	}
}

func addState(b *batch.Builder, k group.Key, s group.State) {
	now := time.Now().UnixMilli()
	b.Add(now, k.AppendKey(nil), s.AppendValue(nil, now))
}

// positionsLog makes the topic when there is something to keep.
func (b *Broker) positionsLog() (store.Partition, error) {
	b.journal.mu.Lock()
	log := b.journal.log
	b.journal.mu.Unlock()
	if log != nil {
		return log, nil
	}
	t, err := b.makeTopic(PositionsTopic, 1)
	if err != nil {
		return nil, err
	}
	b.journal.mu.Lock()
	defer b.journal.mu.Unlock()
	b.journal.log = t.Partitions[0]
	return b.journal.log, nil
}

// compact writes the latest state of all positions and trims the log to them.
// A state that is written later stands behind them, and counts.
func (b *Broker) compact(log store.Partition) {
	var builder batch.Builder
	var base int64
	n, appended := 0, make(chan error, 1)
	b.groups.States(func(k group.Key, s group.State) {
		addState(&builder, k, s)
		if n++; builder.OpenSize() >= TargetBatch {
			builder.Close(0)
		}
	}, func() {
		builder.Close(0)
		err := log.Append(builder.Bytes(), func(at int64, err error) {
			base = at
			appended <- err
		})
		if err != nil {
			appended <- err
		}
	})
	err := <-appended
	if err == nil {
		err = log.Trim(base)
	}
	if err != nil {
		b.Log.Warn("the groups' positions could not be compacted", "reason", err)
	}
	j := &b.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records, j.positions, j.compacting = 0, n, false
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
	var c store.Chunk
	defer c.Release()
	var it batch.Iterator
	var buf []byte
	for at, _ := log.Offsets(); ; {
		if err := log.Read(at, 1<<20, &c); err != nil {
			return err
		}
		if c.Len() == 0 {
			break
		}
		if buf, err = c.Load(buf); err != nil {
			return err
		}
		if at, err = b.replay(buf, &it, states); err != nil {
			return err
		}
	}
	for k, s := range states {
		b.groups.Load(k, s)
	}
	return nil
}

// replay puts the records of whole batches into states and returns the offset
// behind them.
func (b *Broker) replay(p []byte, it *batch.Iterator, states map[group.Key]group.State) (int64, error) {
	var next int64
	for len(p) > 0 {
		bt, rest, err := batch.Next(p)
		if err != nil {
			return 0, err
		}
		if err := it.Reset(bt); err != nil {
			return 0, err
		}
		for it.Next() {
			r := it.Record()
			k, err := group.ParseKey(r.Key)
			if err != nil {
				return 0, fmt.Errorf("offset %d: %w", r.Offset, err)
			}
			s, err := group.ParseValue(r.Value)
			if err != nil {
				return 0, fmt.Errorf("offset %d: %w", r.Offset, err)
			}
			states[k] = s
			b.journal.records++
		}
		if err := it.Err(); err != nil {
			return 0, err
		}
		next, p = bt.NextOffset(), rest
	}
	return next, nil
}
