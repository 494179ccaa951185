package broker

import (
	"errors"
	"fmt"
)

// ErrPartitions is for a number of partitions that a topic can't have.
var ErrPartitions = errors.New("number of partitions")

// AddPartitions adds partitions to a topic, so that it has total. Sessions that follow the topic,
// and groups with a position in it, get the messages of the new ones from their beginning. The
// partitions are durable when it returns. Messages with a key go to another partition than
// before. The error is store.ErrUnknownTopic, ErrInternalTopic, ErrPartitions, ErrTooManyTopics,
// or one of the store.
func (v *View) AddPartitions(name string, total int) error {
	if err := v.topic(Alter, name); err != nil {
		return err
	}
	b := v.broker
	defer b.catalog.names.Lock(name)()
	t, err := b.checkGrowth(name, total)
	if err != nil {
		return err
	}
	had := len(t.Partitions())
	release, err := b.catalog.reserve(0, total-had)
	if err != nil {
		return err
	}
	defer release()
	grown, err := b.store.AddPartitions(name, total)
	if err != nil {
		return err
	}
	more, err := b.openPartitions(t, had, total)
	if err != nil {
		return err
	}
	if err := b.offsets.begin(t, had, total); err != nil {
		b.Log.Warn("groups may not begin at the first message of new partitions", "topic", name, "reason", err)
	}
	t.know(grown)
	t.grow(more)
	b.catalog.grow(len(more))
	return audited(v, nil, "grow", TopicResource, name, "partitions", total)
}

// CheckGrowth finds the topic if AddPartitions would be tried: its error is as far as it is known before.
func (v *View) CheckGrowth(name string, total int) (*Topic, error) {
	if err := v.topic(Alter, name); err != nil {
		return nil, err
	}
	t, err := v.broker.checkGrowth(name, total)
	if err != nil {
		return nil, err
	}
	release, err := v.broker.catalog.reserve(0, total-len(t.Partitions()))
	if err == nil {
		release()
	}
	return t, err
}

func (b *Broker) checkGrowth(name string, total int) (*Topic, error) {
	t, err := b.catalog.Topic(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %q", err, name)
	case Internal(name):
		return nil, ErrInternalTopic
	case total <= len(t.Partitions()):
		return nil, fmt.Errorf("%w: topic %q has %d already, %d are not more", ErrPartitions, name, len(t.Partitions()), total)
	case total > MaxPartitions:
		return nil, fmt.Errorf("%w: %d, a topic has %d at most", ErrPartitions, total, MaxPartitions)
	}
	return t, b.store.CheckSpace(0)
}
