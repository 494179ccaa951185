package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mbus/internal/units"
)

// Resolve has the broker say which offset a position, as in ConsumeRequest.From,
// is in each partition of the topic: what a preview of a group's reset shows. For
// a topic that does not exist there is none, and all that will be in it comes
// after the position. The timeout is that of Ask.
func Resolve(b Broker, topic, position string, timeout time.Duration) (map[int]int64, error) {
	line := units.NewRequest("?reset")
	line.Option("group", "default")
	line.Option("topic", topic)
	line.Option("to", position)
	line.Option("format", "json")
	answer, err := Ask(b, line.String(), timeout)
	var broker *Error
	if errors.As(err, &broker) && broker.Code == "GONE" {
		return map[int]int64{}, nil
	}
	if err != nil {
		return nil, err
	}
	offsets := make(map[int]int64)
	for _, line := range answer {
		var row struct{ Partition, New *int64 }
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Partition == nil || row.New == nil {
			return nil, notBatches(line[:min(len(line), 64)])
		}
		offsets[int(*row.Partition)] = *row.New
	}
	if len(offsets) == 0 {
		return nil, fmt.Errorf("%w: no partition of %q is named", ErrLost, topic)
	}
	return offsets, nil
}
