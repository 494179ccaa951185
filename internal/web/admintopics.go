package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"mbus/internal/broker"
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
			changes: true, serve: deleteTopic,
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
		return aboutTopic(err, c.r.PathValue("topic"))
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
	Executed   bool              `json:"executed"`
	Topic      string            `json:"topic"`
	Partitions int               `json:"partitions"`
	Config     map[string]string `json:"config"`
}

// createTopic makes a topic, or says what it would make.
func createTopic(c *call) error {
	execute, err := c.has("execute")
	if err != nil {
		return err
	}
	var want newTopic
	if err := readJSON(c, &want); err != nil {
		return err
	}
	if err := message.CheckName("topic", want.Topic); err != nil {
		return badRequest("member %q: %w", "topic", err)
	}
	if err := c.view.CheckCreation(want.Topic, want.Partitions, want.Config); err != nil {
		return aboutTopic(err, want.Topic)
	}
	done := topicChange{Executed: execute, Topic: want.Topic, Partitions: want.Partitions, Config: want.Config}
	if done.Config == nil {
		done.Config = map[string]string{}
	}
	if done.Partitions == 0 {
		done.Partitions = c.server.broker.Options().Partitions
	}
	if !execute {
		return c.json(http.StatusOK, done)
	}
	if _, err := c.view.CreateTopic(want.Topic, want.Partitions, want.Config); err != nil {
		return aboutTopic(err, want.Topic)
	}
	c.did("topic made", "topic", want.Topic, "partitions", done.Partitions, "settings", done.Config)
	c.w.Header().Set("Location", "/topics/"+url.PathEscape(want.Topic))
	return c.json(http.StatusCreated, done)
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

// alterTopic changes a topic, or says what it would be then. All is checked before anything is
// changed.
func alterTopic(c *call) error {
	execute, err := c.has("execute")
	if err != nil {
		return err
	}
	name, err := c.name("topic")
	if err != nil {
		return err
	}
	var want alteration
	if err := readJSON(c, &want); err != nil {
		return err
	}
	done, err := altered(c, name, &want)
	if err != nil {
		return err
	}
	if !execute {
		return c.json(http.StatusOK, done)
	}
	done.Executed = true
	if len(want.Config) > 0 {
		if err := c.view.Configure(name, want.apply); err != nil {
			return aboutTopic(err, name)
		}
	}
	if want.Partitions > 0 {
		if err := c.view.AddPartitions(name, want.Partitions); err != nil && len(want.Config) > 0 {
			return fmt.Errorf("the configuration was changed, and no partition was added: %w: %q", err, name)
		} else if err != nil {
			return aboutTopic(err, name)
		}
	}
	c.did("topic changed", "topic", name, "partitions", done.Partitions, "settings", done.Config)
	return c.json(http.StatusOK, done)
}

// altered says what a topic would be after a change.
func altered(c *call, name string, want *alteration) (done topicChange, err error) {
	t, err := incarnationOf(c, name, broker.Alter)
	if err != nil {
		return done, err
	}
	done = topicChange{Topic: t.Name, Partitions: len(t.Partitions()), Config: map[string]string{}}
	maps.Copy(done.Config, t.Config())
	_ = want.apply(done.Config)
	switch {
	case broker.Internal(name):
		return done, aboutTopic(broker.ErrInternalTopic, name)
	case want.Partitions == 0 && len(want.Config) == 0:
		return done, badRequest("the body has neither %q nor %q: nothing is to be changed", "partitions", "config")
	case want.Partitions != 0:
		if _, err := c.view.CheckGrowth(name, want.Partitions); err != nil {
			return done, aboutTopic(err, name)
		}
		done.Partitions = want.Partitions
	}
	return done, c.server.broker.CheckConfig(done.Config)
}

// A topicDeletion is a topic that was, or would be, deleted.
type topicDeletion struct {
	Executed bool `json:"executed"`
	topicSize
	Readers []topicReader `json:"readers"` // groups of which connections read it now, and get an error
}

type topicReader struct {
	Group   string `json:"group"`
	Members int    `json:"members"` // or more: each may read some partitions
}

// readersOf are the groups that read a topic now, by name.
func readersOf(c *call, topic string) []topicReader {
	most := make(map[string]int) // connections of a group, of which each may read all partitions
	for _, n := range c.view.Positions("") {
		if n.Topic == topic && n.Members > most[n.Group] {
			most[n.Group] = n.Members
		}
	}
	all := []topicReader{}
	for _, name := range slices.Sorted(maps.Keys(most)) {
		all = append(all, topicReader{name, most[name]})
	}
	return all
}

func deleteTopic(c *call) error {
	execute, err := c.has("execute")
	if err != nil {
		return err
	}
	name, err := c.name("topic")
	if err != nil {
		return err
	}
	done := topicDeletion{Executed: execute, topicSize: topicSize{Topic: name}}
	t, err := incarnationOf(c, name, broker.Delete)
	switch {
	case errors.Is(err, broker.ErrUnusable) && c.query.Has("id"): // nobody knows which one it is
		return fmt.Errorf("%w; its id can't be read: without the id, DELETE deletes the topic with the name", err)
	case errors.Is(err, broker.ErrUnusable): // nor what is in it
		t = nil
	case err != nil:
		return err
	case c.view.CheckDeletion(name) != nil:
		return aboutTopic(c.view.CheckDeletion(name), name)
	default:
		done.topicSize = describeSize(t, c.view.Delayed())
	}
	done.Readers = readersOf(c, name)
	if !execute {
		return c.json(http.StatusOK, done)
	}
	if t != nil {
		err = c.view.DeleteTopicByID(t.ID) // the one that is shown
	} else {
		err = c.view.DeleteTopic(name)
	}
	if err != nil {
		return aboutTopic(err, name)
	}
	c.did("topic deleted", "topic", name)
	return c.json(http.StatusOK, done)
}
