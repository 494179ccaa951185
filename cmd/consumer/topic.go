package main

import (
	"errors"
	"fmt"

	"mbus/internal/client"
)

// An identity says which topic a position belongs to: another topic may get the same name.
type identity struct {
	name   string
	id     string // "" where it is not known yet, or the broker has no ids
	remedy string // what to do with a position in another topic, for people
}

// found takes the topic's id from the broker, which must not change. began says that there
// is a position: before that any topic of the name will do.
func (t *identity) found(id string, began bool) error {
	if began && t.id != "" && id != t.id {
		return fmt.Errorf("topic %q is not the one with id %s that was read before: it was deleted and created again, "+
			"or the broker has other data: %s", t.name, t.id, t.remedy)
	}
	if id != "" || !began {
		t.id = id
	}
	return nil
}

// explain says what to do after the broker's error that the topic was deleted.
func (t *identity) explain(err error) error {
	var broker *client.Error
	if t.id != "" && errors.As(err, &broker) && broker.Code == "GONE" {
		return fmt.Errorf("topic %q was deleted: %s", t.name, t.remedy)
	}
	return err
}

// look requests the topic's id before each connection that follows, or whose position the
// program keeps. So it notices a broker that does not answer, and a missing topic, where the
// connection itself would wait.
func (s *session) look() error {
	id, exists, err := client.Look(s.opts.broker, s.topic.name, s.opts.timeout)
	if err != nil {
		return err
	}
	if s.lost {
		s.lost = false
		say("connected again")
	}
	began := len(s.next) > 0
	switch {
	case exists:
		err = s.topic.found(id, began)
	case began && s.topic.id != "":
		err = fmt.Errorf("topic %q was deleted: %s", s.topic.name, s.topic.remedy)
	case s.opts.request.Follow:
		s.sayWaiting()
	}
	if err != nil || s.next != nil || s.opts.request.From == "" || !s.opts.request.Follow {
		return err
	}
	return s.resolve()
}

// sayWaiting says, once, that a follower waits for its topic. All that will be in it comes
// after its end of now, also where this connection is lost before.
func (s *session) sayWaiting() {
	if !s.waits {
		say("topic %q does not exist yet; waiting", s.topic.name)
	}
	s.waits = true
	if s.opts.request.Start == "end" {
		s.opts.request.Start = "beginning"
	}
}

// resolve finds the offsets of the position to begin at: a second connection can
// go on only from offsets.
func (s *session) resolve() (err error) {
	s.next, err = client.Resolve(s.opts.broker, s.opts.request.Topic, s.opts.request.From, s.opts.timeout)
	return err
}

// sayNothing says why a topic had no messages, where that is not as it is every day. It
// is a hint: where the broker can't be asked, there is none.
func (s *session) sayNothing() {
	name, r := s.topic.name, &s.opts.request
	if _, exists, err := client.Look(s.opts.broker, name, s.opts.timeout); err == nil && !exists {
		say("topic %q does not exist", name)
		return
	}
	if r.Group == "" {
		return
	}
	held, waiting, err := client.Held(s.opts.broker, name, r.Group, s.opts.timeout)
	switch {
	case err != nil:
	case held > 0:
		say("other consumers of group %q hold %d messages of topic %q", r.Group, held, name)
	case waiting > 0:
		say("%d messages of topic %q wait in group %q: they have failed, or are behind one of their key", waiting, name, r.Group)
	}
}
