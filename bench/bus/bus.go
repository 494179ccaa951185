// Package bus runs message brokers as processes of their own and speaks to each
// with the client that its users would take: one interface for all of them.
package bus

import (
	"context"
	"time"
)

// A System is a broker in one configuration.
type System struct {
	Name    string
	Answers string // what has happened to a message when its producer has the answer
	Client  string
	Config  string // as in the command line, without ports and directories

	// Version gives what the broker calls itself. The error says why there is no
	// such broker here.
	Version func() (string, error)

	// Start runs the broker over an empty directory.
	Start func(dir string) (*Process, error)

	// Open prepares to speak to it.
	Open func(p *Process) (Bus, error)

	// Unfit says of a measurement, by its name, why it is not made; "" if it is.
	Unfit func(measurement string) string
}

// A Bus is a way of speaking to a broker. Its methods may be called by any
// goroutine.
type Bus interface {
	// Topic makes a topic, with the groups that will read it from its beginning.
	Topic(name string, groups ...string) error

	// Publisher is for publishing without waiting for each answer. An urgent one
	// sends what it is given without collecting first.
	Publisher(topic string, urgent bool) (Publisher, error)

	// Sender is for one message at a time, with connections of its own.
	Sender(topic string) (Sender, error)

	// Consume gives a group's messages to take, acknowledging them as is usual,
	// until ctx ends, for which the error is nil.
	Consume(ctx context.Context, r Reading, take func(message []byte)) error

	Close()
}

// A Publisher is for one goroutine.
type Publisher interface {
	// Add takes in a message, which must not be changed any more. It may wait
	// where too many are unanswered.
	Add(message []byte) error
	// Flush sends all that was added.
	Flush() error
	// Close returns when every message is acknowledged.
	Close() error
}

// A Sender is for one goroutine.
type Sender interface {
	// Send returns when the message is acknowledged.
	Send(message []byte) error
	Close()
}

// A Reading says what to consume and how.
type Reading struct {
	Topic, Group string // without a group, where that is possible, the whole topic
	Urgent       bool   // nothing is collected where that can be chosen
	Drain        bool   // only the messages stored so far: where that is another request, Consume may return at its end
}

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// redeliverAfter is when a broker may take an unacknowledged message for lost,
// where that can be chosen: not while it is counted.
const redeliverAfter = 10 * time.Minute

// bufferBytes is what clients collect before they write, where that is ours to
// choose.
const bufferBytes = 64 << 10

// All gives every system there is a way of speaking to, in the order of the
// table. mbus is the path of its broker's program, tools the directory that
// peers' programs are built into.
func All(mbus, tools string) []*System {
	return append(mbusSystems(mbus), peers(tools)...)
}

func peers(tools string) []*System {
	list := []*System{klite()}
	list = append(list, natsSystems(tools)...)
	list = append(list, redisSystems()...)
	list = append(list, nsqSystems(tools)...)
	return append(list, rabbitSystems()...)
}
