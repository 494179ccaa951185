package broker

import (
	"errors"

	"mbus/internal/store"
)

// DeleteTopic removes a topic and all positions in it, for good: one that can't be
// used as well. Its users get store.ErrDeleted. The error is
// store.ErrUnknownTopic, ErrInternalTopic, or the reason why a part of it remains.
func (v *View) DeleteTopic(name string) error {
	if err := v.topic(Delete, name); err != nil {
		return err
	}
	return audited(v, v.broker.deleteTopic(name, func(*Topic) bool { return true }), "delete", TopicResource, name)
}

// DeleteTopicByID is DeleteTopic for one incarnation of a name: a later topic of the same name
// stays.
func (v *View) DeleteTopicByID(id [16]byte) error {
	t, err := v.TopicByID(id, Delete)
	if err != nil {
		return err
	}
	return audited(v, v.broker.deleteTopic(t.Name, func(now *Topic) bool { return now == t }), "delete", TopicResource, t.Name)
}

// CheckDeletion says why DeleteTopic would refuse a topic of this name, whether there is
// one or not: the error is ErrInternalTopic.
func (v *View) CheckDeletion(name string) error {
	if err := v.topic(Delete, name); err != nil {
		return err
	}
	if Internal(name) {
		return ErrInternalTopic
	}
	return nil
}

// deleteTopic deletes the topic of a name, if it is the one meant: nobody makes another
// one meanwhile.
func (b *Broker) deleteTopic(name string, meant func(*Topic) bool) error {
	if Internal(name) {
		return ErrInternalTopic
	}
	defer b.catalog.names.Lock(name)()
	t, err := b.catalog.Topic(name)
	switch {
	case errors.Is(err, store.ErrUnusable):
	case err != nil:
		return err
	case !meant(t):
		return store.ErrUnknownTopic
	}
	// The topic first: positions in a topic that is known to be deleted are forgotten
	// at the next start.
	err = b.store.DeleteTopic(name)
	if errors.Is(err, store.ErrUnknownTopic) {
		err = nil
	}
	if err != nil && (t == nil || b.reopen(name)) {
		if t != nil {
			t.end() // another *Topic has its partitions now
		}
		return err
	}
	if t != nil {
		b.catalog.remove(t)
		b.schedule.Abandon(t.ID)
		b.waiting.take(t.ID)
		t.end()
	}
	return errors.Join(err, b.offsets.deleteIn(name))
}

// reopen has a topic used again that the store could not delete, for its
// partitions have been closed. It reports false if the store has it no more.
func (b *Broker) reopen(name string) bool {
	for _, t := range b.store.Topics() {
		if t.Name == name {
			_, err := b.openTopic(t)
			return err == nil
		}
	}
	return false
}
