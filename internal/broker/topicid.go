package broker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// A TopicID names one incarnation of a topic: another topic that is made with the same
// name has another one.
type TopicID [16]byte

// String is the id as clients see it, and as topic.json has it: a UUID of RFC 9562.
func (id TopicID) String() string {
	h := hex.EncodeToString(id[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// ParseTopicID reads the id of a topic, as String writes it.
func ParseTopicID(text string) (TopicID, error) {
	p, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(p) != len(TopicID{}) {
		return TopicID{}, fmt.Errorf("it takes the id of a topic, as ?topics&format=json shows it, not %q", text)
	}
	return TopicID(p), nil
}

// An IncarnationError says that a topic is not there in the incarnation that a client wants. It is
// an ErrDeleted.
type IncarnationError struct {
	Topic string
	ID    TopicID
}

func (e *IncarnationError) Error() string {
	return fmt.Sprintf("the topic %q with the id %v was deleted, or its name is another one's now", e.Topic, e.ID)
}

// Is has errors.Is find ErrDeleted.
func (e *IncarnationError) Is(target error) bool { return target == ErrDeleted }

// Incarnation is Topic for one incarnation; id is nil for any. The error may be an
// *IncarnationError.
func (v *View) Incarnation(name string, id *TopicID, access Access) (*Topic, error) {
	t, err := v.Topic(name, access)
	if id == nil {
		return t, err
	}
	if errors.Is(err, ErrUnknownTopic) || err == nil && TopicID(t.ID) != *id {
		return nil, &IncarnationError{name, *id}
	}
	return t, err
}
