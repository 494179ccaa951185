package line

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"mbus/internal/broker"
)

// A topicID names one incarnation of a topic: another topic that is made with the same
// name has another one.
type topicID [16]byte

// String is the id as ?topics shows it, and topic.json: a UUID of RFC 9562.
func (id topicID) String() string {
	h := hex.EncodeToString(id[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// setID reads the id of a topic, as ?topics shows it.
func setID(r *request, value string) error {
	p, err := hex.DecodeString(strings.ReplaceAll(value, "-", ""))
	if err != nil || len(p) != len(topicID{}) {
		return fmt.Errorf("it takes the id of a topic, as ?topics&format=json shows it, not %q", value)
	}
	id := topicID(p)
	r.id = &id
	return nil
}

// find finds the topic of a request for an access, in the incarnation that the request names, if it
// names one. The error is broker.ErrUnknownTopic, an *errorLine, or wraps broker.ErrUnusable.
func (r *request) find(v *broker.View, access broker.Access) (*broker.Topic, error) {
	t, err := v.Topic(r.topic, access)
	if r.id == nil {
		return t, err
	}
	if errors.Is(err, broker.ErrUnknownTopic) || err == nil && topicID(t.ID) != *r.id {
		return nil, errorLinef("GONE", "the topic %q with the id %v was deleted, or its name is another one's now", r.topic, r.id)
	}
	return t, err
}
