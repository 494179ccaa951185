package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/message"
	"mbus/internal/units"
)

func lookOperations() []operation {
	return []operation{
		{
			id: "getMessage", method: http.MethodGet, path: "/topics/{topic}/partitions/{partition}/messages/{offset}", tag: "Operate",
			summary: "One message. Nothing is consumed.",
			answers: asJSON("the message", messageDocument{}),
			serve:   getMessage,
		},
		{
			id: "findOffsets", method: http.MethodGet, path: "/topics/{topic}/offsets", tag: "Operate",
			summary: "Where the first message at or after a time is, in each partition",
			params:  []param{{name: "time", about: "a time, UTC if it names no zone, or milliseconds since 1970", example: "2026-11-22T10:00:00Z", must: true}},
			answers: asJSON("an offset for each partition", foundOffsets{}),
			serve:   findOffsets,
		},
	}
}

// A messageDocument is what message.AppendJSON writes, for the OpenAPI document.
type messageDocument struct {
	Topic     string   `json:"topic"`
	Partition int      `json:"partition"`
	Offset    int64    `json:"offset"`
	TSType    string   `json:"tstype"` // create or logappend
	TS        int64    `json:"ts"`     // milliseconds since 1970
	Broker    int32    `json:"broker"`
	Headers   []string `json:"headers,omitempty"` // names and values in turn
	Headers64 []string `json:"headers_base64,omitempty"`
	Key       *string  `json:"key,omitempty"`
	Key64     string   `json:"key_base64,omitempty"`
	Payload   *string  `json:"payload,omitempty"`
	Payload64 string   `json:"payload_base64,omitempty"`
}

// pathNumber is a whole number of the path, up to most.
func pathNumber(c *call, name string, most int64) (int64, error) {
	text := c.r.PathValue(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most || text[0] == '+' || text[0] == '-' {
		return 0, badRequest("the path: %s is a number from 0 to %d, not %q", name, most, text)
	}
	return n, nil
}

func getMessage(c *call) error {
	partition, err := pathNumber(c, "partition", broker.MaxPartitions-1)
	if err != nil {
		return err
	}
	offset, err := pathNumber(c, "offset", math.MaxInt64)
	if err != nil {
		return err
	}
	t, err := c.topic(broker.Read)
	if err != nil {
		return err
	}
	logs := t.Partitions()
	if partition >= int64(len(logs)) {
		return notFound("topic %q has no partition %d: it has %d", t.Name, partition, len(logs))
	}
	start, end := logs[partition].Offsets()
	if offset < start || offset >= end {
		return notFound("partition %d of topic %q has no message at offset %d: it has those from %d to below %d", partition, t.Name, offset, start, end)
	}
	var doc json.RawMessage
	err = broker.WithRecord(logs[partition], offset, func(r *batch.Record) error {
		doc = message.AppendJSON(nil, message.Origin{Broker: c.server.opts.NodeID, Topic: t.Name, Partition: int(partition)}, r)
		return nil
	})
	if err != nil {
		return lookError(err)
	}
	return c.json(http.StatusOK, doc)
}

// lookError is the error for a message that can't be read.
func lookError(err error) error {
	var hole *broker.HoleError
	var damage *broker.DamageError
	switch {
	case errors.As(err, &hole), errors.Is(err, broker.ErrOutOfRange):
		return notFound("%w", err)
	case errors.As(err, &damage):
		return &problem{Status: http.StatusInternalServerError, Code: "DAMAGED", Detail: err.Error()}
	}
	return err
}

func notFound(format string, args ...any) error {
	return &problem{Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Errorf(format, args...).Error()}
}

// foundOffsets are places in the partitions of a topic.
type foundOffsets struct {
	Topic   string        `json:"topic"`
	Time    int64         `json:"time"` // that was asked for, in milliseconds since 1970
	Offsets []foundOffset `json:"offsets"`
}

type foundOffset struct {
	Partition int   `json:"partition"`
	Offset    int64 `json:"offset"`         // the partition's end if it has no such message
	Time      int64 `json:"time,omitempty"` // of the message, in milliseconds since 1970
	Found     bool  `json:"found"`
}

func findOffsets(c *call) error {
	text := c.query.Get("time")
	at, err := units.ParseTime(text, time.UTC)
	if err != nil {
		return badRequest("parameter %q: %w, not %q", "time", err, text)
	}
	t, err := c.topic(broker.Describe)
	if err != nil {
		return err
	}
	found := foundOffsets{Topic: t.Name, Time: at.UnixMilli()}
	for i, log := range t.Partitions() {
		_, end := log.Offsets()
		offset, ms, err := broker.RecordAt(log, found.Time)
		if err != nil {
			return err
		}
		if offset < 0 {
			found.Offsets = append(found.Offsets, foundOffset{Partition: i, Offset: end})
			continue
		}
		found.Offsets = append(found.Offsets, foundOffset{i, offset, ms, true})
	}
	return c.json(http.StatusOK, found)
}
