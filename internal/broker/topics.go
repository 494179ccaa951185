package broker

import (
	"fmt"
	"slices"

	"mbus/internal/store"
)

// Topics lists the topics that may be described, the broker's own among them, by name.
func (v *View) Topics() []*Topic {
	return slices.DeleteFunc(v.broker.catalog.Topics(), func(t *Topic) bool { return !May(v, Describe, TopicResource, t.Name) })
}

// Topic finds a topic, for an access to it. It returns store.ErrUnknownTopic if there is
// none, and store.ErrUnusable if it is damaged or missing.
func (v *View) Topic(name string, access Access) (*Topic, error) {
	if err := v.topic(access, name); err != nil {
		return nil, err
	}
	return v.broker.catalog.Topic(name)
}

// TopicByID finds a topic by its id, for an access to it. It returns store.ErrUnknownTopic if
// there is none: each incarnation of a name has an id of its own.
func (v *View) TopicByID(id [16]byte, access Access) (*Topic, error) {
	t, err := v.broker.catalog.TopicByID(id)
	if err != nil {
		return nil, err
	}
	if v.topic(Describe, t.Name) != nil { // an id that it may not know
		return nil, store.ErrUnknownTopic
	}
	if err := v.topic(access, t.Name); err != nil {
		return nil, err
	}
	return t, nil
}

// MakeTopic finds a topic for publishing, and makes it if there is none, unless
// Options.NoAutoCreate: then the error is ErrNoAutoCreate. The name has been checked by
// message.CheckName.
func (v *View) MakeTopic(name string) (*Topic, error) {
	if err := v.MayPublish(name); err != nil {
		return nil, err
	}
	return v.broker.makeTopic(v.principal, name, v.broker.opts.Partitions)
}

// MayPublish says why MakeTopic can't give a topic of this name, whatever room there is:
// the error is ErrInternalTopic or ErrNoAutoCreate.
func (v *View) MayPublish(name string) error {
	if err := v.topic(Write, name); err != nil {
		return err
	}
	return v.broker.mayPublish(name)
}

// CreateTopic makes a topic with so many partitions, 1 to MaxPartitions, or 0 for
// as many as new topics have, and what it has set for itself, nil for nothing. The
// name has been checked by message.CheckName. It fails with store.ErrTopicExists,
// ErrInternalTopic, ErrTooManyTopics, ErrTooLarge, ErrConfig, or an error of the
// store.
func (v *View) CreateTopic(name string, partitions int, config map[string]string) (*Topic, error) {
	if err := v.CheckCreation(name, partitions, config); err != nil {
		return nil, err
	}
	if partitions == 0 {
		partitions = v.broker.opts.Partitions
	}
	t, err := v.broker.newTopic(name, partitions, config)
	return t, audited(v, err, "create", TopicResource, name, "partitions", partitions, "settings", settingsText(config))
}

// CheckCreation says why CreateTopic would fail, as far as that is known before.
func (v *View) CheckCreation(name string, partitions int, config map[string]string) error {
	if err := v.topic(Create, name); err != nil {
		return err
	}
	switch _, err := v.broker.catalog.Topic(name); {
	case err == nil:
		return store.ErrTopicExists
	case Internal(name):
		return ErrInternalTopic
	case partitions < 0 || partitions > MaxPartitions:
		return fmt.Errorf("%w: %d partitions, it takes 1 to %d", ErrTooLarge, partitions, MaxPartitions)
	}
	return v.broker.CheckConfig(config)
}
