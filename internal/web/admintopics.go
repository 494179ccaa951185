package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
)

func topicOperations() []operation {
	return []operation{
		{
			id: "listTopics", method: http.MethodGet, path: "/topics", tag: "Operate",
			summary: "The topics, by name",
			params:  []param{paramAfter, paramLimit},
			answers: asJSON("the topics", topicList{}),
			serve:   listTopics,
		},
		{
			id: "getTopic", method: http.MethodGet, path: "/topics/{topic}", tag: "Operate",
			summary: "A topic: its size, configuration and partitions",
			answers: asJSON("the topic", topicDetails{}),
			serve:   getTopic,
		},
		{
			id: "createTopic", method: http.MethodPost, path: "/topics", tag: "Operate",
			summary: "Makes a topic",
			params:  []param{paramExecute}, bodies: []string{typeJSON}, body: newTopic{},
			answers: append(asJSON("what would be made", topicChange{}),
				answer{status: http.StatusCreated, types: []string{typeJSON}, about: "the topic was made, and is on disk", body: topicChange{}}),
			changes: true, serve: createTopic,
		},
		{
			id: "alterTopic", method: http.MethodPatch, path: "/topics/{topic}", tag: "Operate",
			summary: "Changes the configuration of a topic, and adds partitions to it. Messages with a key go to another partition than before.",
			params:  []param{paramExecute, paramID}, bodies: []string{typeJSON}, body: alteration{},
			answers: asJSON("the topic as it is, or would be, after the change", topicChange{}),
			changes: true, serve: alterTopic,
		},
		{
			id: "deleteTopic", method: http.MethodDelete, path: "/topics/{topic}", tag: "Operate",
			summary: "Deletes a topic and all positions in it, for good. Its consumers get an error.",
			params:  []param{paramExecute, paramID},
			answers: asJSON("the topic that was, or would be, deleted", topicDeletion{}),
			changes: true, serve: planned(planDeletion),
		},
	}
}

// A topicSize is a topic and its size.
type topicSize struct {
	Topic      string `json:"topic"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Messages   int64  `json:"messages"`
	Bytes      int64  `json:"bytes"`
	Oldest     string `json:"oldest,omitempty"` // RFC 3339
	Delayed    int    `json:"delayed"`
	Internal   bool   `json:"internal"` // the broker's own
}

type topicList struct {
	Topics []topicSize `json:"topics"`
	Next   string      `json:"next,omitempty"` // for parameter after, if there are more
}

// topicDetails are all that there is to say of a topic.
type topicDetails struct {
	topicSize
	Config map[string]string `json:"config"` // the topic's own
	Logs   []topicLog        `json:"logs"`   // by partition
}

// A topicLog is one partition.
type topicLog struct {
	Partition int   `json:"partition"`
	Start     int64 `json:"start"` // offset of the first message
	End       int64 `json:"end"`   // offset that the next message gets
	Bytes     int64 `json:"bytes"`
}

// describeSize is the size of a topic; delayed are those of View.Delayed.
func describeSize(t *broker.Topic, delayed map[[16]byte]int) topicSize {
	n := t.Counts()
	return topicSize{
		Topic: t.Name, ID: broker.TopicID(t.ID).String(), Partitions: len(t.Partitions()), Messages: n.Messages, Bytes: n.Bytes,
		Oldest: timeOrNone(n.Oldest), Delayed: delayed[t.ID], Internal: broker.Internal(t.Name),
	}
}

// describeTopic is all that there is to say of a topic.
func describeTopic(c *call, t *broker.Topic) topicDetails {
	d := topicDetails{topicSize: describeSize(t, c.view.Delayed()), Config: maps.Clone(t.Config())}
	if d.Config == nil {
		d.Config = map[string]string{}
	}
	for i, log := range t.Partitions() {
		start, end := log.Offsets()
		d.Logs = append(d.Logs, topicLog{i, start, end, log.Size()})
	}
	return d
}

// describeTopics is a part of the list of topics. The size of a topic is read from its files, so
// that only the topics of the part are looked at.
func describeTopics(c *call, part listPart) topicList {
	list := topicList{Topics: []topicSize{}}
	delayed := c.view.Delayed()
	for _, t := range c.view.Topics() {
		switch {
		case t.Name <= part.after:
		case len(list.Topics) == part.limit:
			list.Next = list.Topics[part.limit-1].Topic
			return list
		default:
			list.Topics = append(list.Topics, describeSize(t, delayed))
		}
	}
	return list
}

func listTopics(c *call) error {
	part, err := readPart(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, describeTopics(c, part))
}

func getTopic(c *call) error {
	t, err := c.topic(broker.Describe)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, describeTopic(c, t))
}

// A newTopic is a request to make one.
type newTopic struct {
	Topic      string            `json:"topic"`
	Partitions int               `json:"partitions,omitempty"` // 0 for as many as new topics get
	Config     map[string]string `json:"config,omitempty"`     // under the names of Kafka's topic configurations
}

// An alteration is a request to change a topic.
type alteration struct {
	Partitions int                `json:"partitions,omitempty"` // that the topic is to have, not fewer than it has; 0 for no change
	Config     map[string]*string `json:"config,omitempty"`     // null for the default
}

// A topicChange is what was, or would be, made of a topic.
type topicChange struct {
	plan
	Topic      string            `json:"topic"`
	Partitions int               `json:"partitions"`
	Config     map[string]string `json:"config"`
}

// planTopic says which topic would be made.
func planTopic(c *call, want newTopic) (*topicChange, error) {
	if err := message.CheckName("topic", want.Topic); err != nil {
		return nil, badRequest("%w", err)
	}
	if err := c.view.CheckCreation(want.Topic, want.Partitions, want.Config); err != nil {
		return nil, aboutTopic(err, want.Topic)
	}
	done := &topicChange{Topic: want.Topic, Partitions: want.Partitions, Config: want.Config}
	if done.Config == nil {
		done.Config = map[string]string{}
	}
	if done.Partitions == 0 {
		done.Partitions = c.server.broker.Options().Partitions
	}
	done.do = func() error {
		if _, err := c.view.CreateTopic(want.Topic, want.Partitions, want.Config); err != nil {
			return aboutTopic(err, want.Topic)
		}
		c.w.Header().Set("Location", "/topics/"+url.PathEscape(want.Topic))
		return nil
	}
	return done, nil
}

func createTopic(c *call) error {
	var want newTopic
	if err := readJSON(c, &want); err != nil {
		return err
	}
	done, err := planTopic(c, want)
	if err != nil {
		return err
	}
	return carryOut(c, http.StatusCreated, done)
}

// apply changes settings.
func (a *alteration) apply(own map[string]string) error {
	for name, value := range a.Config {
		if value == nil {
			delete(own, name)
		} else {
			own[name] = *value
		}
	}
	return nil
}

// planAlteration says what a topic would be after a change. All is checked before anything is changed.
func planAlteration(c *call, t *broker.Topic, want *alteration) (*topicChange, error) {
	done := &topicChange{plan: planFor(t), Topic: t.Name, Partitions: len(t.Partitions()), Config: map[string]string{}}
	maps.Copy(done.Config, t.Config())
	_ = want.apply(done.Config)
	switch {
	case broker.Internal(t.Name):
		return nil, aboutTopic(broker.ErrInternalTopic, t.Name)
	case want.Partitions == 0 && len(want.Config) == 0:
		return nil, badRequest("there is neither %q nor %q: nothing is to be changed", "partitions", "config")
	case want.Partitions != 0:
		if _, err := c.view.CheckGrowth(t.Name, want.Partitions); err != nil {
			return nil, aboutTopic(err, t.Name)
		}
		done.Partitions = want.Partitions
	}
	done.do = func() error { return alter(c, t, done, want) }
	return done, c.server.broker.CheckConfig(done.Config)
}

// alter changes a topic. An error of the second of two steps, which is rare because both were checked, says what the
// first one has done.
func alter(c *call, t *broker.Topic, done *topicChange, want *alteration) error {
	if len(want.Config) > 0 {
		if err := c.view.Configure(t.Name, want.apply); err != nil {
			return aboutTopic(err, t.Name)
		}
	}
	if want.Partitions > 0 {
		if err := c.view.AddPartitions(t.Name, want.Partitions); err != nil && len(want.Config) > 0 {
			return halfDone(err, done, len(t.Partitions()))
		} else if err != nil {
			return aboutTopic(err, t.Name)
		}
	}
	return nil
}

// halfDone is the error of a change after which a topic has another configuration, and no more partitions. Its
// member done is the topic as it is now.
func halfDone(err error, done *topicChange, partitions int) error {
	p := *toProblem(fmt.Errorf("the configuration was changed, and no partition was added: %w: %q", err, done.Topic))
	done.Executed, done.Partitions = true, partitions
	p.Extra = map[string]any{"done": done}
	return &p
}

func alterTopic(c *call) error {
	var want alteration
	if err := readJSON(c, &want); err != nil {
		return err
	}
	t, err := incarnation(c, broker.Alter)
	if err != nil {
		return err
	}
	done, err := planAlteration(c, t, &want)
	if err != nil {
		return err
	}
	return carryOut(c, http.StatusOK, done)
}

// A topicDeletion is a topic that was, or would be, deleted.
type topicDeletion struct {
	plan
	topicSize
	Readers []topicReader `json:"readers"` // groups of which connections read it now, and get an error
}

type topicReader struct {
	Group   string `json:"group"`
	Members int    `json:"members"` // or more: each may read some partitions
}

// planDeletion says which topic would be deleted.
func planDeletion(c *call) (*topicDeletion, error) {
	name, err := c.name("topic")
	if err != nil {
		return nil, err
	}
	done := &topicDeletion{topicSize: topicSize{Topic: name}, Readers: []topicReader{}}
	remove := func() error { return c.view.DeleteTopic(name) }
	t, err := incarnationOf(c, name, broker.Delete)
	switch {
	case errors.Is(err, broker.ErrUnusable) && c.query.Has("id"): // nobody knows which one it is
		return nil, fmt.Errorf("%w; its id can't be read: without the id, DELETE deletes the topic with the name", err)
	case errors.Is(err, broker.ErrUnusable): // nor what is in it
	case err != nil:
		return nil, err
	default:
		if err := c.view.CheckDeletion(name); err != nil {
			return nil, aboutTopic(err, name)
		}
		done.plan, done.topicSize = planFor(t), describeSize(t, c.view.Delayed())
		remove = func() error { return c.view.DeleteTopicByID(t.ID) } // the one that is shown
	}
	for _, r := range delivery.ReadersOf(c.view, name) {
		done.Readers = append(done.Readers, topicReader(r))
	}
	done.do = func() error {
		if err := remove(); err != nil {
			return aboutTopic(err, name)
		}
		return nil
	}
	return done, nil
}
