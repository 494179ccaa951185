package kafka

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/broker"
	"mbus/internal/message"
)

// leaderEpoch is the only leader epoch of a partition.
func leaderEpoch(t *broker.Topic, partition int32) int32 { return t.LeaderEpoch(int(partition)) }

// topics finds topics for a request, and the error codes of those that do not exist.
type topics struct {
	broker *broker.Broker
	view   *broker.View
}

func (c *call) topics() topics { return topics{c.server.broker, c.conn.view} }

// partition finds a partition, for an access to it, and the error code if there is none.
func (t topics) partition(topic string, number int32, access broker.Access) (*broker.Topic, *broker.Partition, int16) {
	found, err := t.view.Topic(topic, access)
	log, failed := partitionOf(found, err, number)
	if failed == 0 {
		failed = code(log.Available())
	}
	return found, log, failed
}

// partitionOf is a partition of a topic, or the error code if err says that there is no topic,
// or if the topic has no such partition.
func partitionOf(t *broker.Topic, err error, number int32) (*broker.Partition, int16) {
	switch {
	case err != nil:
		return nil, code(err)
	case number < 0 || int(number) >= len(t.Partitions()):
		return nil, kerr.UnknownTopicOrPartition.Code
	}
	return t.Partitions()[number], 0
}

// find finds a topic by its name or, in versions with ids in place of names, by its id.
func (t topics) find(name string, id [16]byte, byID bool, access broker.Access) (*broker.Topic, error) {
	if byID {
		return t.byID(id, access)
	}
	return t.view.Topic(name, access)
}

// lowestEpoch is lower than every leader epoch of this broker's topics, which are seconds since
// 2026: it is the twelfth day of that year. Clients that do not know the epoch send 0, the first
// epoch of a Kafka topic.
const lowestEpoch = 1_000_000

// isFormerEpoch reports whether an epoch is that of a deleted topic of the same name. If the
// clock was wrong when a topic was created, its epoch is lower than lowestEpoch.
func isFormerEpoch(t *broker.Topic, partition, epoch int32) bool {
	own := leaderEpoch(t, partition)
	return epoch > 0 && epoch < own && (epoch >= lowestEpoch || own < lowestEpoch)
}

// checkEpoch compares a partition's leader epoch with the one that a client expects, which is -1
// if it does not know.
func checkEpoch(t *broker.Topic, partition, expected int32) int16 {
	switch epoch := leaderEpoch(t, partition); {
	case expected > epoch:
		return kerr.UnknownLeaderEpoch.Code
	case expected < epoch && expected != -1:
		return kerr.FencedLeaderEpoch.Code
	}
	return 0
}

// existing finds a topic. The error says if the name cannot be a topic's.
func (t topics) existing(name string, access broker.Access) (*broker.Topic, error) {
	found, err := t.view.Topic(name, access)
	if errors.Is(err, broker.ErrUnknownTopic) {
		if invalid := message.CheckName("topic", name); invalid != nil {
			return nil, fmt.Errorf("%w: %w", kerr.InvalidTopicException, invalid)
		}
	}
	return found, err
}

// orCreate finds a topic, and creates it if create allows it.
func (t topics) orCreate(name string, create bool) (*broker.Topic, error) {
	found, err := t.existing(name, broker.Describe)
	if create && errors.Is(err, broker.ErrUnknownTopic) {
		return t.view.MakeTopic(name)
	}
	return found, err
}

// all lists the topics by name, the broker's own among them.
func (t topics) all() []*broker.Topic { return t.view.Topics() }

// byID finds a topic by its id, or returns UNKNOWN_TOPIC_ID.
func (t topics) byID(id [16]byte, access broker.Access) (*broker.Topic, error) {
	found, err := t.view.TopicByID(id, access)
	if errors.Is(err, broker.ErrUnknownTopic) {
		return nil, kerr.UnknownTopicID
	}
	return found, err
}

// createMissing creates those of the topics that do not exist. The caller gets an error
// when it looks for the topic next.
func (t topics) createMissing(names []string) {
	var missing []string
	for _, name := range names {
		if _, err := t.view.Topic(name, broker.Describe); errors.Is(err, broker.ErrUnknownTopic) {
			missing = append(missing, name)
		}
	}
	sideBySide(len(missing), func(i int) { _, _ = t.orCreate(missing[i], true) })
}

// maxBeside is the number of topics of a request that are created at the same time, so that
// they share syncs.
const maxBeside = 64

// sideBySide calls f with the numbers below n, at most maxBeside at a time.
func sideBySide(n int, f func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var group sync.WaitGroup
	for range min(n, maxBeside) - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
}
