package group

// Early is the topic ID of a position in partition 0 of a topic that does not exist yet.
// No topic has it, because random UUIDs have another version.
var Early = ID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Expect keeps, until Adopt, that a group begins at the first message of a topic that does not
// exist yet. The error is ErrTooMany.
func (g *Groups) Expect(name, topic string) error {
	p, err := g.Position(Key{Group: name, Topic: topic}, Early)
	if err != nil {
		return err
	}
	defer p.Close()
	p.Start(0, true)
	return nil
}

// Adopt makes the positions in a topic that was expected those of its incarnation id.
// In each of its partitions the groups begin at the first message.
func (g *Groups) Adopt(topic string, id ID, partitions int) error {
	for _, name := range g.adopt(topic, id) {
		for i := 1; i < partitions; i++ {
			p, err := g.Position(Key{name, topic, i}, id)
			if err != nil {
				return err
			}
			p.Start(0, true)
			p.Close()
		}
	}
	return nil
}

// adopt is Adopt for partition 0. It returns the names of the groups.
func (g *Groups) adopt(topic string, id ID) (names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, s := range g.sets {
		p := s.positions[topicPartition{topic, 0}]
		if p == nil || p.kept.topic != Early {
			continue
		}
		p.mu.Lock()
		p.kept.topic = id
		p.kept.mark()
		p.mu.Unlock()
		names = append(names, name)
	}
	return names
}
