package broker

import (
	"fmt"
	"time"

	"mbus/internal/store"
)

// CreateTopic makes a topic with so many partitions, 1 to MaxPartitions, or 0 for
// as many as new topics have, and what it has set for itself, nil for nothing. The
// name has been checked by message.CheckName. It fails with store.ErrTopicExists,
// ErrInternalTopic, ErrTooManyTopics, ErrTooLarge, ErrConfig, or an error of the
// store.
func (b *Broker) CreateTopic(name string, partitions int, config map[string]string) (*Topic, error) {
	if err := b.CheckCreation(name, partitions, config); err != nil {
		return nil, err
	}
	if partitions == 0 {
		partitions = b.opts.Partitions
	}
	return b.newTopic(name, partitions, config)
}

// CheckCreation says why CreateTopic would fail, as far as that is known before.
func (b *Broker) CheckCreation(name string, partitions int, config map[string]string) error {
	switch _, err := b.Topic(name); {
	case err == nil:
		return store.ErrTopicExists
	case Internal(name):
		return ErrInternalTopic
	case partitions < 0 || partitions > MaxPartitions:
		return fmt.Errorf("%w: %d partitions, it takes 1 to %d", ErrTooLarge, partitions, MaxPartitions)
	}
	return b.CheckConfig(config)
}

// NewPartitions is how many partitions a topic gets that is made without a number.
func (b *Broker) NewPartitions() int { return b.opts.Partitions }

// RetentionUnread is the age from which messages are removed that a group which leases
// messages has not consumed; 0 for that of all others.
func (b *Broker) RetentionUnread() time.Duration { return b.opts.RetentionUnread }

// Retention is what messages are removed by: their age, and the size in bytes of
// their partition; 0 for never.
func (b *Broker) Retention() (age time.Duration, bytes int64) {
	return b.opts.Retention, b.opts.RetentionBytes
}
