package broker

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/store"
)

// HasDeadLetters reports whether messages of a topic that have failed too often go to the dead
// letters. Dead letters, and messages of the broker's own topics, are delivered without end.
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

// HeaderAttempt is the number of the delivery, in a batch for a consumer, from the second on.
// It is never stored.
const HeaderAttempt = "mbus-attempt"

// DeadLetters move messages that have failed too often to the topics of dead letters.
type deadLetters struct {
	open  func(topic string) (*Topic, error) // finds the topic of a topic's dead letters, or creates it
	log   *slog.Logger
	moves *work // messages that are being moved

	mu      sync.Mutex      // guards what follows
	failing map[string]bool // topics whose latest dead message could not be stored
}

// newDeadLetters makes them for a broker.
func newDeadLetters(b *Broker) *deadLetters {
	return &deadLetters{
		log: b.Log, moves: &b.work, failing: make(map[string]bool),
		open: func(topic string) (*Topic, error) {
			return b.makeTopic(Self, message.DeadLettersOf(topic), b.opts.Partitions)
		},
	}
}

// Bury moves a message that has failed too often to the dead letters. It counts as consumed
// when it is durable there; if it can't be stored it is delivered again. settled is called
// once, after either; it must not block.
func (b *Broker) Bury(t *Topic, f group.Failed, reason string, settled func()) {
	b.deadLetters.move(t, f, reason, settled)
}

// move is Bury.
func (d *deadLetters) move(t *Topic, f group.Failed, reason string, settled func()) {
	if !d.moves.begin() { // the broker ends, and nothing is delivered any more
		f.Position.Unbury(f.Offset, time.Now().Add(deadLetterRetry))
		settled()
		return
	}
	done := onceOnly(func(err error) {
		defer d.moves.done()
		defer settled()
		d.moved(f, reason, err)
	})
	err := errors.New("a panic") // unless append returns: Close must not wait for ever
	defer func() {
		if err != nil {
			done(err)
		}
	}()
	err = d.append(t, f, reason, done)
}

// onceOnly is f, which does nothing when it is called again.
func onceOnly(f func(error)) func(error) {
	var once sync.Once
	return func(err error) { once.Do(func() { f(err) }) }
}

// moved has a message count as consumed that is durable among the dead letters, and delivers
// it again after an error.
func (d *deadLetters) moved(f group.Failed, reason string, err error) {
	if IsMissing(err) { // the next consumer gets -GAP
		f.Position.Unbury(f.Offset, time.Now())
		return
	}
	k := f.Position.Key()
	log := d.log.With("group", k.Group, "topic", k.Topic, "partition", k.Partition, "offset", f.Offset, "reason", reason)
	changed := d.changes(k.Topic, err != nil)
	switch {
	case store.Ended(err):
	case err != nil && changed:
		log.Error("a dead message could not be kept: it will be delivered again", "error", err)
	case changed:
		d.log.Info("dead messages are kept again", "topic", k.Topic)
	}
	if err != nil {
		f.Position.Unbury(f.Offset, time.Now().Add(deadLetterRetry))
		return
	}
	log.Warn("a message went to the dead letters", "attempts", f.Attempts)
	f.Position.Bury(f.Offset)
}

// changes records whether the latest dead message of a topic could not be stored, and reports
// whether that has changed.
func (d *deadLetters) changes(topic string, failing bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing[topic] == failing {
		return false
	}
	if failing {
		d.failing[topic] = true
	} else {
		delete(d.failing, topic)
	}
	return true
}

// append appends a message to the dead letters.
func (d *deadLetters) append(t *Topic, f group.Failed, reason string, done func(error)) error {
	k := f.Position.Key()
	dead, err := d.open(t.Name)
	if err != nil {
		return err
	}
	return WithRecord(t.Partitions()[k.Partition], f.Offset, func(r *batch.Record) error {
		var builder batch.Builder
		builder.Add(r.Timestamp, r.Key, r.Value, deadHeaders(r, k, f, reason)...)
		builder.Close(0)
		log := dead.For(r.Key)
		return log.Append(builder.Bytes(), AppendOptions{Checked: true, Due: true, Port: Itself}, durably(log, done))
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
