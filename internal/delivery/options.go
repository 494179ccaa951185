package delivery

import (
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/units"
)

// Options say what a Session, or a redrive, delivers.
type Options struct {
	View   *broker.View // the broker as the client sees it
	Port   broker.Port  // that the client uses, for counters
	Topic  string
	Find   func() (*broker.Topic, error) // finds the topic; broker.ErrUnknownTopic while there is none
	Group  string
	Client string          // address, for the log and for lists of members
	From   *units.Position // of a replay, which belongs to no group; nil for the group's position
	To     map[int]int64   // offsets by partition at which a replay ends, 0 for others; nil for the end of the topic
	N      int64           // messages at most; 0 for all

	Partitions []int // numbers, ascending, each once; nil for all of the topic, new ones included

	Follow   bool // new messages are sent until the client leaves
	Ack      bool // the client acknowledges
	Confirm  bool // the Sink gets acknowledgements that are durable
	Ordered  bool // messages with the same key are sent one at a time
	StartEnd bool // a new group begins at the end

	Window     int64         // messages that may be unacknowledged; 0 for the default, which bounds bytes, too
	AckTimeout time.Duration // 0 for none
	Retry      group.Retry   // of messages that have failed

	OnEnd func() // called when a session that was started has ended by itself; it must not block
}

// retry says when messages that have failed come again: without end where there are no dead letters.
func (o *Options) retry() group.Retry {
	r := o.Retry
	if !broker.HasDeadLetters(o.Topic) {
		r.Attempts = 0
	}
	return r
}
