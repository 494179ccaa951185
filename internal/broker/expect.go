package broker

// ExpectTopic has a group begin at the first message of a topic that does not exist yet, and
// returns when that is durable. It does nothing if the topic exists. The error is
// group.ErrTooMany, wraps store.ErrUnusable, or is the reason why it may not be durable.
func (o *offsets) ExpectTopic(groupName, name string) error {
	if err := o.expect(groupName, name); err != nil {
		return err
	}
	return o.AwaitPositions()
}

// expect is ExpectTopic without waiting.
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
		return err // a name without a position must not be kept: positions are limited, names are not
	}
	o.expected[name] = true
	return nil
}

// adopt gives a topic the positions of the groups that expected it. The caller holds the mu
// of topics.
func (o *offsets) adopt(t *Topic) {
	if !o.expected[t.Name] {
		return
	}
	delete(o.expected, t.Name)
	if err := o.groups.Adopt(t.Name, t.ID, len(t.Partitions())); err != nil {
		o.log.Warn("groups may not begin at the first message of a topic that they have waited for", "topic", t.Name, "partitions", len(t.Partitions()), "reason", err)
	}
}

// expectAgain restores the expected topics at the start. A topic may exist already, if a crash
// came just after it was created.
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
