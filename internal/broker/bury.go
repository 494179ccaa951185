package broker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/store"
)

// HasDeadLetters says whether a message of a topic that has failed too often goes to the
// dead letters: those there, and the broker's own, are tried without end.
func HasDeadLetters(topic string) bool {
	return !strings.HasSuffix(topic, message.DeadLetters) && !Internal(topic)
}

// The headers that a dead letter has beyond its own.
const (
	HeaderTopic     = "mbus-topic"
	HeaderPartition = "mbus-partition"
	HeaderOffset    = "mbus-offset"
	HeaderGroup     = "mbus-group"
	HeaderAttempts  = "mbus-attempts"
	HeaderReason    = "mbus-reason"
)

// HeaderAttempt tells a consumer, in a batch, how often it has been tried to deliver the
// message, this time included, where that is twice or more. It is never stored.
const HeaderAttempt = "mbus-attempt"

// buryAgain is the time after which a message is delivered once more that could
// not be put among the dead letters.
const buryAgain = time.Minute

// Bury puts a dead message of a topic among the dead letters, and only when it
// is durable there it counts as consumed. If that fails the message is delivered
// again. settled is called once, when one or the other is so; it must not block.
func (b *Broker) Bury(t *Topic, f group.Failed, reason string, settled func()) {
	b.ended.Add(1) // so that Close waits
	done := onceOnly(func(err error) {
		defer b.ended.Done()
		defer settled()
		if IsMissing(err) { // the next consumer is told
			f.Position.Unbury(f.Offset, time.Now())
			return
		}
		k := f.Position.Key()
		log := b.Log.With("group", k.Group, "topic", k.Topic, "partition", k.Partition, "offset", f.Offset, "reason", reason)
		changed := b.burying.note(k.Topic, err == nil)
		switch {
		case err != nil && changed:
			log.Error("a dead message could not be kept: it will be delivered again", "error", err)
		case changed:
			b.Log.Info("dead messages are kept again", "topic", k.Topic)
		}
		if err != nil {
			f.Position.Unbury(f.Offset, time.Now().Add(buryAgain))
			return
		}
		log.Warn("a message went to the dead letters", "attempts", f.Attempts)
		f.Position.Bury(f.Offset)
	})
	err := errors.New("a panic") // unless bury returns: Close must not wait for ever
	defer func() {
		if err != nil {
			done(err)
		}
	}()
	err = b.bury(t, f, reason, done)
}

// IsMissing says whether a log has a message no more, or can't read it.
func IsMissing(err error) bool {
	_, missing := missingUntil(err)
	return missing || errors.Is(err, store.ErrOutOfRange)
}

// burying is the topics of which dead messages can't be kept.
type burying struct {
	mu      sync.Mutex
	failing map[string]bool
}

// note says whether what has become of a dead message is other than of the one before it in
// the topic. At first all is well.
func (b *burying) note(topic string, kept bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed = b.failing[topic] == kept
	switch {
	case kept:
		delete(b.failing, topic)
	case b.failing == nil:
		b.failing = map[string]bool{topic: true}
	default:
		b.failing[topic] = true
	}
	return changed
}

// onceOnly is f, which does nothing when it is called again.
func onceOnly(f func(error)) func(error) {
	var once sync.Once
	return func(err error) { once.Do(func() { f(err) }) }
}

func (b *Broker) bury(t *Topic, f group.Failed, reason string, done func(error)) error {
	k := f.Position.Key()
	dead, err := b.makeTopic(message.DeadLettersOf(t.Name), b.opts.Partitions)
	if err != nil {
		return err
	}
	return WithRecord(t.Partitions()[k.Partition], f.Offset, func(r *batch.Record) error {
		var builder batch.Builder
		builder.Add(r.Timestamp, r.Key, r.Value, deadHeaders(r, k, f, reason)...)
		builder.Close(0)
		log := dead.For(r.Key)
		return log.Append(builder.Bytes(), AppendOptions{Checked: true, Due: true}, durably(log, done))
	})
}

func deadHeaders(r *batch.Record, k group.Key, f group.Failed, reason string) []batch.Header {
	all := make([]batch.Header, 0, r.HeaderCount()+6)
	for key, value := range r.Headers() {
		all = append(all, batch.Header{Key: string(key), Value: value})
	}
	add := func(key, value string) { all = append(all, batch.Header{Key: key, Value: []byte(value)}) }
	add(HeaderTopic, k.Topic)
	add(HeaderPartition, strconv.Itoa(k.Partition))
	add(HeaderOffset, strconv.FormatInt(f.Offset, 10))
	add(HeaderGroup, k.Group)
	add(HeaderAttempts, strconv.Itoa(f.Attempts))
	add(HeaderReason, reason)
	return all
}

// errNoRecord says that a batch does not have the offset that its header claims.
var errNoRecord = errors.New("no such record")

// WithRecord calls f with a copy of the record at offset of a partition; it is
// valid until f returns.
func WithRecord(log *Partition, offset int64, f func(*batch.Record) error) error {
	var c store.Chunk
	defer c.Release()
	if err := log.Fetch(offset, 1, &c); err != nil {
		return err
	}
	p, err := c.Load(nil)
	if err != nil {
		return err
	}
	b, _, err := batch.Next(p)
	if err != nil {
		return err
	}
	var one batch.Builder
	if err := Scan(func(it *batch.Iterator) error { return batch.Slice(&one, it, b, offset, offset+1) }); err != nil {
		return err
	}
	var it batch.Iterator
	if len(one.Bytes()) == 0 {
		return fmt.Errorf("%w: offset %d", errNoRecord, offset)
	}
	if err := it.Reset(one.Bytes()); err != nil {
		return err
	}
	if !it.Next() {
		return it.Err()
	}
	return f(it.Record())
}
