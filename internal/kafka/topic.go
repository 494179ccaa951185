package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/broker"
	"mbus/internal/record"
	"mbus/internal/store"
)

// leaderEpoch is the epoch of every partition: there is no other leader.
const leaderEpoch = 0

// partition finds a partition, and the error code if there is none.
func (s *Server) partition(topic string, number int32) (*broker.Topic, store.Partition, int16) {
	t, err := s.broker.Topic(topic)
	if err != nil || number < 0 || int(number) >= len(t.Partitions) {
		return nil, nil, kerr.UnknownTopicOrPartition.Code
	}
	return t, t.Partitions[number], 0
}

// checkEpoch compares the leader's epoch that a client expects with ours. -1 is a
// client that does not know.
func checkEpoch(expected int32) int16 {
	switch {
	case expected > leaderEpoch:
		return kerr.UnknownLeaderEpoch.Code
	case expected < leaderEpoch && expected != -1:
		return kerr.FencedLeaderEpoch.Code
	}
	return 0
}

// topicFor finds a topic, and makes it if create allows it.
func (s *Server) topicFor(name string, create bool) (*broker.Topic, error) {
	t, err := s.broker.Topic(name)
	if err == nil || !errors.Is(err, store.ErrUnknownTopic) {
		return t, err
	}
	if err := record.CheckName("topic", name); err != nil {
		return nil, fmt.Errorf("%w: %w", kerr.InvalidTopicException, err)
	}
	if !create {
		return nil, store.ErrUnknownTopic
	}
	return s.broker.MakeTopic(name)
}

// topicByID finds a topic by its id, nil if there is none.
func (s *Server) topicByID(id [16]byte) *broker.Topic {
	for _, t := range s.broker.Topics() {
		if t.ID == id {
			return t
		}
	}
	return nil
}
