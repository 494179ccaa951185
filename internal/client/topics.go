package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mbus/internal/units"
)

// Look asks the broker whether the topic exists, and for its id: that of another
// topic with the same name, made later or elsewhere, is another. A broker before ids has
// "". It waits for an answer for the timeout at most, for 0 five minutes.
func Look(b Broker, topic string, timeout time.Duration) (id string, exists bool, err error) {
	rows, err := look[struct{ ID string }](b, timeout, "?topics", "topic", topic)
	var broker *Error
	switch {
	case errors.As(err, &broker) && broker.Code == "GONE":
		return "", false, nil
	case err != nil:
		return "", false, err
	case len(rows) == 0: // of a broker that has ended, for one
		return "", false, fmt.Errorf("%w: the broker has not answered", ErrLost)
	}
	return rows[0].ID, true, nil
}

// Held asks the broker how many messages of the topic connections of the group
// hold, and how many wait because they have failed.
func Held(b Broker, topic, group string, timeout time.Duration) (unacknowledged, waiting int64, err error) {
	type row struct{ Unacknowledged, Waiting int64 }
	rows, err := look[row](b, timeout, "?groups", "topic", topic, "group", group)
	for _, r := range rows {
		unacknowledged, waiting = unacknowledged+r.Unacknowledged, waiting+r.Waiting
	}
	return unacknowledged, waiting, err
}

// look returns the rows of an answer.
func look[R any](b Broker, timeout time.Duration, what string, options ...string) (rows []R, err error) {
	line := units.NewRequest(what)
	for i := 0; i < len(options); i += 2 {
		line.Option(options[i], options[i+1])
	}
	line.Option("format", "json")
	answer, err := Ask(b, line.String(), timeout)
	for _, text := range answer {
		var r R
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, notBatches(text[:min(len(text), 64)])
		}
		rows = append(rows, r)
	}
	return rows, err
}
