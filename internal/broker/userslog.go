package broker

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/auth"
	"mbus/internal/batch"
	"mbus/internal/store"
)

// UsersTopic is the internal topic that keeps the users, a record each, by name. It is compacted as
// PositionsTopic is.
const UsersTopic = "__mbus_users"

// A usersLog makes users durable, in the log of UsersTopic. The users' Editor calls it, one at a time.
type usersLog struct {
	broker  *Broker
	editor  *auth.Editor
	log     *Partition // nil until the first write
	records int        // in the log
	bytes   int        // of those
	kept    int        // bytes that the last compaction wrote
}

// newUsers reads the users back. A user that can't be read may have had less permissions than its earlier
// records say, and without users everything is open: so nothing of the log may be missing.
func newUsers(b *Broker) (*usersLog, error) {
	l := &usersLog{broker: b}
	l.editor = auth.New(l.save)
	switch err := l.open(); {
	case errors.Is(err, store.ErrUnknownTopic):
		return l, nil
	case err != nil:
		return nil, err
	}
	var it batch.Iterator
	start, _ := l.log.Offsets()
	err := walk(l.log, start, stopAt, func(bt batch.Batch) (bool, error) {
		if err := it.Reset(bt); err != nil {
			return false, err
		}
		for it.Next() {
			r := it.Record()
			l.count(string(r.Key), r.Value)
			if err := l.editor.Load(string(r.Key), r.Value); err != nil {
				return false, fmt.Errorf("offset %d: %w", r.Offset, err)
			}
		}
		return true, it.Err()
	})
	l.editor.Loaded()
	return l, err
}

// open opens the log. It is in no catalog, so that no client finds it.
func (l *usersLog) open() error {
	log, err := l.broker.store.Partition(UsersTopic, 0)
	if err == nil {
		t := &Topic{Name: UsersTopic}
		t.settings.Store(l.broker.fallback)
		l.log = &Partition{broker: l.broker, topic: t, log: log, internal: true}
	}
	return err
}

// save is auth.New's.
func (l *usersLog) save(name string, record []byte) error {
	if l.log == nil {
		if _, err := l.broker.store.CreateTopic(UsersTopic, 1, ""); err != nil && !errors.Is(err, store.ErrTopicExists) {
			return err
		}
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.records >= max(compactUsersAfter, 4*l.editor.Len()) || l.bytes >= max(compactUsersBytes, 4*l.kept) {
		if err := l.compact(); err != nil {
			l.broker.Log.Warn("the users could not be compacted: their log grows until the next attempt", "topic", UsersTopic, "reason", err)
		}
	}
	var b batch.Builder
	b.Add(time.Now().UnixMilli(), []byte(name), record)
	l.count(name, record) // also one that may be stored
	return l.append(&b)
}

func (l *usersLog) count(name string, record []byte) {
	l.records++
	l.bytes += len(name) + len(record)
}

// append returns when a batch is durable, however the store syncs.
func (l *usersLog) append(b *batch.Builder) error {
	b.Close(0)
	failed := make(chan error, 1)
	l.log.AppendDurably(b.Bytes(), func(err error) { failed <- err })
	return <-failed
}

// compact appends all users once more, in pieces, and trims the log to them.
func (l *usersLog) compact() error {
	_, start := l.log.Offsets()
	records, bytes := l.records, l.bytes
	now := time.Now().UnixMilli()
	var b batch.Builder
	for name, record := range l.editor.Records() { // the secret is one, so that none is empty
		if b.OpenSize() >= TargetBatch {
			if err := l.append(&b); err != nil {
				return err
			}
			b = batch.Builder{}
		}
		b.Add(now, []byte(name), record)
		l.count(name, record)
	}
	if err := l.append(&b); err != nil {
		return err
	}
	l.records -= records
	l.bytes -= bytes
	l.kept = l.bytes
	return l.log.Trim(start)
}
