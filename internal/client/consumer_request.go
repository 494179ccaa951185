package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/units"
)

// A ConsumeRequest says what to consume; PROTOCOL.md says what each option means.
// Names are the caller's to check; see message.CheckName. Options that are zero
// are left to the broker.
type ConsumeRequest struct {
	Topic string
	Group string // whose position is read and moved; "" with From
	From  string // where to read without consuming; "" for the group's position
	ID    string // of the topic: one of the same name that has another is refused; "" for any
	N     int64  // at most so many messages; 0 for all

	Follow bool // new messages are waited for
	Ack    bool // messages are consumed by Consumer.Ack, not by Consumer.Commit
	Risky  bool // with Ack: a program that dies may have died of its message, which has failed then

	Start      string        // "beginning" or "end", for a group without a position
	Ordered    bool          // one message of a key at a time
	Window     int           // messages that may be unacknowledged
	AckTimeout time.Duration // within which there must be an acknowledgement
	Retry      time.Duration // before a message that failed comes again
	Attempts   string        // as many times a message is delivered: a number, 0 for without end

	// Timeout is for connecting, and without Follow for each time that the broker says
	// nothing; 0 is 10 seconds and without end.
	Timeout time.Duration

	// Idle, if not nil, is called before each wait for the broker: the time to
	// write out what was received. Its error ends the stream.
	Idle func() error
}

// line is the request line.
func (r *ConsumeRequest) line() string {
	line := units.NewRequest(r.Topic)
	line.Option("format", "batch")
	option := func(given bool, name, value string) {
		if given {
			line.Option(name, value)
		}
	}
	word := func(given bool, name string) {
		if given {
			line.Word(name)
		}
	}
	option(r.Group != "", "group", r.Group)
	option(r.From != "", "from", r.From)
	option(r.ID != "", "id", r.ID)
	option(r.N > 0, "n", strconv.FormatInt(r.N, 10))
	word(r.Follow, "follow")
	word(r.Ack, "ack")
	option(r.Start != "", "start", r.Start)
	word(r.Ordered, "ordered")
	option(r.Window > 0, "window", strconv.Itoa(r.Window))
	option(r.AckTimeout > 0, "ack-timeout", units.FormatDuration(r.AckTimeout))
	option(r.Retry > 0, "retry", units.FormatDuration(r.Retry))
	option(r.Attempts != "", "attempts", r.Attempts)
	return line.String()
}

// Offsets is the From that begins each partition at the offset that next has
// for it, and those that it does not have at their beginning.
func Offsets(next map[int]int64) string {
	if len(next) == 0 {
		return "beginning"
	}
	var from []string
	for _, p := range slices.Sorted(maps.Keys(next)) {
		from = append(from, fmt.Sprintf("%d:%d", p, next[p]))
	}
	return strings.Join(from, ",")
}
