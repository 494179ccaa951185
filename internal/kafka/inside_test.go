package kafka_test

import (
	"mbus/internal/broker"
	"mbus/internal/group"
)

// An inside is a broker, with its topics and groups as it sees them itself.
type inside struct {
	*broker.Broker
	*broker.View
}

func insideOf(b *broker.Broker) *inside { return &inside{b, b.As(broker.Self)} }

func (i *inside) Topic(name string) (*broker.Topic, error) {
	return i.View.Topic(name, broker.Describe)
}

func (i *inside) CommitOffsets(groupName string, commits []group.Commit, done func([]error)) {
	_ = i.View.CommitOffsets(groupName, commits, func(queue func()) error { queue(); return nil }, done)
}
