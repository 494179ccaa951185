package web

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// publishOperations publish messages.
func publishOperations() []operation {
	post := operation{
		id: "publish", method: http.MethodPost, path: "/topics/{topic}", tag: "Publish",
		summary: "Publish the body as one message, or the messages that it holds",
		params:  publishParams, headers: publishHeaders, bodies: []string{typeAny, typeJSONs, typeManyLines, typeEvent, typeEvents},
		answers: []answer{
			{status: http.StatusOK, types: []string{typeJSON}, about: "the message is on disk; of many messages the answer is the topic and how many were published", body: published{}},
			{status: http.StatusAccepted, types: []string{typeJSON}, about: "the message is on disk, and waits for its delivery time", body: scheduled{}},
		},
		changes: true, serve: publishBody,
	}
	put := post
	put.id, put.method = "publishFile", http.MethodPut
	return []operation{post, put}
}

const typeAny = "application/octet-stream"

// A published is where a message is.
type published struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
}

// A scheduled message has no offset before it is due.
type scheduled struct {
	Topic     string    `json:"topic"`
	Partition int       `json:"partition"`
	Due       time.Time `json:"due"`
}

// publishBody publishes what the body holds.
func publishBody(c *call) error {
	topic, err := c.name("topic")
	if err != nil {
		return err
	}
	if err := c.view.MayPublish(topic); err != nil {
		return err
	}
	o, err := c.publishOptions()
	if err != nil {
		return err
	}
	if lines := c.manyOf(); lines != nil {
		return c.publishMany(topic, o, lines)
	}
	b := c.newBody(c.server.broker.Limits.MaxMessage)
	defer b.free()
	if o.value, err = b.readAll(); err != nil {
		return err
	}
	if err := c.eventOf(o); err != nil {
		return err
	}
	return c.publishOne(topic, o)
}

// publishOne publishes one message and answers where it is.
func (c *call) publishOne(topic string, m *outgoing) error {
	t, p, err := m.prepare(c.view, c.server.broker, topic)
	if err != nil {
		return err
	}
	if m.once != "" {
		return c.publishOnce(t, p, m)
	}
	offset, err := m.append(p, noProducer)
	switch {
	case err != nil:
		return err
	case broker.Waits(m.headers):
		return c.json(http.StatusAccepted, scheduled{topic, p.Number(), m.due()})
	}
	return published{topic, p.Number(), offset}.answer(c.w)
}

// prepare finds where the message goes, and checks it.
func (m *outgoing) prepare(v *broker.View, b *broker.Broker, topic string) (*broker.Topic, *broker.Partition, error) {
	t, err := v.MakeTopic(topic)
	if err != nil {
		return nil, nil, err
	}
	if err := m.check(b, t); err != nil {
		return nil, nil, err
	}
	p, err := m.place(t)
	return t, p, err
}

// publishOnce publishes one message, unless that was done with the same idempotency key.
func (c *call) publishOnce(t *broker.Topic, p *broker.Partition, m *outgoing) error {
	if broker.Waits(m.headers) {
		return badRequest("%q does not go with a message that is delivered later: it has no offset yet", headerOnce)
	}
	at, repeated, err := c.server.broker.Once(t, m.once, c.server.conns.Stopped(), func(producer batch.Producer) (broker.Place, error) {
		offset, err := m.append(p, producer)
		return broker.Place{Partition: p.Number(), Offset: offset}, err
	})
	if err != nil {
		return err
	}
	if repeated {
		if err := m.isAt(t, at); err != nil {
			return err
		}
	}
	return published{t.Name, at.Partition, at.Offset}.answer(c.w)
}

// isAt refuses a key that was used for another message, if that can still be read.
func (m *outgoing) isAt(t *broker.Topic, at broker.Place) error {
	same := true
	err := broker.WithRecord(t.Partitions()[at.Partition], at.Offset, func(r *batch.Record) error {
		same = bytes.Equal(r.Key, m.key) && bytes.Equal(r.Value, m.value) && m.hasHeaders(r)
		return nil
	})
	if err == nil && !same {
		return &problem{
			Status: http.StatusUnprocessableEntity, Code: codeConflict,
			Detail: fmt.Sprintf("%q was used for another message, at offset %d of partition %d", headerOnce, at.Offset, at.Partition),
		}
	}
	return nil
}

// hasHeaders says whether a record has the message's headers: those of an event tell it from another.
func (m *outgoing) hasHeaders(r *batch.Record) bool {
	i := 0
	for k, v := range r.Headers() {
		if i == len(m.headers) || string(k) != m.headers[i].Key || !bytes.Equal(v, m.headers[i].Value) {
			return false
		}
		i++
	}
	return i == len(m.headers)
}

// An outgoing is a message to publish.
type outgoing struct {
	key, value []byte
	hasKey     bool
	partition  int   // -1 for the one of the key, or any
	time       int64 // in milliseconds since 1970
	hasTime    bool
	headers    []batch.Header
	once       string // idempotency key; "" for none
}

// check finds what no topic, or not this one, takes.
func (m *outgoing) check(b *broker.Broker, t *broker.Topic) error {
	size := len(m.key) + len(m.value)
	bound := batch.HeaderSize + batch.RecordOverhead + size
	for _, h := range m.headers {
		size += len(h.Key) + len(h.Value)
		bound += headerOverhead + len(h.Key) + len(h.Value)
	}
	limit := b.Limits.MaxMessage
	if size > limit {
		return tooLarge(limit, "-max-message of the broker")
	}
	if bound > t.MaxBatch() {
		return tooLarge(t.MaxMessage(), "max.message.bytes of the topic")
	}
	if m.hasTime {
		return b.CheckTimes(t, m.time, m.time)
	}
	m.time = b.Now().UnixMilli()
	return nil
}

// headerOverhead bounds what a header takes beside its key and value, in bytes: two lengths.
const headerOverhead = 10

// place is the partition that the message goes to.
func (m *outgoing) place(t *broker.Topic) (*broker.Partition, error) {
	all := t.Partitions()
	switch {
	case m.partition >= len(all):
		return nil, noPartition(t, m.partition)
	case m.partition >= 0:
		return all[m.partition], nil
	case m.hasKey:
		return all[broker.ForKey(m.key, len(all))], nil
	case m.once != "": // a first try that failed may be on disk: it is found where the next one goes
		return all[broker.ForKey([]byte(m.once), len(all))], nil
	}
	return all[t.Next(len(all))], nil
}

func noPartition(t *broker.Topic, number int) error {
	return badRequest("topic %q has %d partitions, and none has the number %d", t.Name, len(t.Partitions()), number)
}

// due is when the message is delivered.
func (m *outgoing) due() time.Time {
	for i := len(m.headers) - 1; i >= 0; i-- {
		if m.headers[i].Key == broker.HeaderDeliverAt {
			ms, _ := broker.ParseDeliverAt(string(m.headers[i].Value)) // it has been checked
			return time.UnixMilli(ms).UTC()
		}
	}
	return time.Time{}
}

func deliverAtHeader(ms int64) batch.Header {
	return batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, ms, 10)}
}
