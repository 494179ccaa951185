package broker

// ExpectTopic has a group begin at the first message of a topic that is still to be made,
// and returns when that is durable. It does nothing if the topic is there. The error is
// group.ErrTooMany, wraps store.ErrUnusable, or says why it may not be durable.
func (b *Broker) ExpectTopic(groupName, name string) error {
	if err := b.expect(groupName, name); err != nil {
		return err
	}
	return b.AwaitPositions()
}

// expect is ExpectTopic, but for what is durable.
func (b *Broker) expect(groupName, name string) error {
	if err := b.journal.unusable; err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.topics[name] != nil {
		return nil
	}
	if err := b.groups.Expect(groupName, name); err != nil {
		return err // a name alone must not be kept: there are more of them than positions
	}
	b.expected[name] = true
	return nil
}

// adopt gives a topic the positions of the groups that have expected it. The caller holds
// mu.
func (b *Broker) adopt(t *Topic) {
	if !b.expected[t.Name] {
		return
	}
	delete(b.expected, t.Name)
	if err := b.groups.Adopt(t.Name, t.ID, len(t.Partitions())); err != nil {
		b.Log.Warn("groups may not begin at the first message of a topic that they have waited for", "topic", t.Name, "reason", err)
	}
}

// expectAgain takes the topics that groups expect from the positions that were loaded: a
// crash may have come when one had just been made.
func (b *Broker) expectAgain(names map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range names {
		b.expected[name] = true
		if t := b.topics[name]; t != nil {
			b.adopt(t)
		}
	}
}
