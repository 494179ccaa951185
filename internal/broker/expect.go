package broker

// ExpectTopic has a group begin at the first message of a topic that is still to be made,
// and returns when that is durable. It does nothing if the topic is there. The error is
// group.ErrTooMany, wraps store.ErrUnusable, or says why it may not be durable.
func (o *offsets) ExpectTopic(groupName, name string) error {
	if err := o.expect(groupName, name); err != nil {
		return err
	}
	return o.AwaitPositions()
}

// expect is ExpectTopic, but for what is durable.
func (o *offsets) expect(groupName, name string) error {
	if err := o.unusable; err != nil {
		return err
	}
	o.topics.mu.Lock()
	defer o.topics.mu.Unlock()
	if o.topics.byName[name] != nil {
		return nil
	}
	if err := o.groups.Expect(groupName, name); err != nil {
		return err // a name alone must not be kept: there are more of them than positions
	}
	o.expected[name] = true
	return nil
}

// adopt gives a topic the positions of the groups that have expected it. The caller holds
// mu.
func (o *offsets) adopt(t *Topic) {
	if !o.expected[t.Name] {
		return
	}
	delete(o.expected, t.Name)
	if err := o.groups.Adopt(t.Name, t.ID, len(t.Partitions())); err != nil {
		o.log.Warn("groups may not begin at the first message of a topic that they have waited for", "topic", t.Name, "reason", err)
	}
}

// expectAgain takes the topics that groups expect from the positions that were loaded: a
// crash may have come when one had just been made.
func (o *offsets) expectAgain(names map[string]bool) {
	o.topics.mu.Lock()
	defer o.topics.mu.Unlock()
	for name := range names {
		o.expected[name] = true
		if t := o.topics.byName[name]; t != nil {
			o.adopt(t)
		}
	}
}
