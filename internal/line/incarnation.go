package line

import "mbus/internal/broker"

// setID reads the id of a topic, as ?topics shows it.
func setID(r *request, value string) error {
	id, err := broker.ParseTopicID(value)
	r.id = &id
	return err
}

// find finds the topic of a request for an access, in the incarnation that the request names, if it
// names one. The error is broker.ErrUnknownTopic, a *broker.IncarnationError, or wraps
// broker.ErrUnusable.
func (r *request) find(v *broker.View, access broker.Access) (*broker.Topic, error) {
	return v.Incarnation(r.topic, r.id, access)
}
