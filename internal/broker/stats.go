package broker

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A Port is a way by which messages come and go.
type Port uint8

// The ports. Messages of NoPort are not counted: the broker's own records, and those that were counted before.
const (
	NoPort Port = iota
	Producers
	Consumers
	Kafka
	HTTP
	Itself // the broker: dead letters
	ports
)

// Ports are all but NoPort.
var Ports = []Port{Producers, Consumers, Kafka, HTTP, Itself}

func (p Port) String() string {
	return [ports]string{"", "producers", "consumers", "kafka", "http", "broker"}[p]
}

// Stats are counters of the fronts. They only rise, but for connections.
type Stats struct {
	connections [ports]Connections
	refused     counts[Refusal] // appends
	requests    counts[Request]
}

// Connections counts those of a port.
type Connections struct {
	Open     atomic.Int64 // now
	Accepted atomic.Int64
	Refused  atomic.Int64 // because there were too many
}

// Begin counts a connection until it calls end.
func (c *Connections) Begin() (end func()) {
	c.Accepted.Add(1)
	c.Open.Add(1)
	return func() { c.Open.Add(-1) }
}

// Connections are those of a port.
func (s *Stats) Connections(p Port) *Connections { return &s.connections[p] }

// A Request is a kind of requests with the same outcome.
type Request struct {
	Port    Port
	Kind    string // API of Kafka, or operation of HTTP
	Outcome string // error of Kafka, or status of HTTP
}

// Request is the counter of requests of a kind. A front that has many keeps it, because finding it takes a lock.
func (s *Stats) Request(r Request) *atomic.Int64 { return s.requests.of(r) }

// EachRequest calls f with the counters of all requests there have been, in any order.
func (s *Stats) EachRequest(f func(Request, int64)) {
	s.requests.each(f)
}

// A Refusal is why messages were not stored.
type Refusal struct {
	Port   Port
	Reason string
}

// EachRefusal calls f with how many appends were refused, in any order.
func (s *Stats) EachRefusal(f func(Refusal, int64)) {
	s.refused.each(f)
}

// reasons are the kinds of refusals of appends.
var reasons = []struct {
	err    error
	reason string
}{
	{store.ErrFull, "disk-full"},
	{store.ErrFailed, "failed"},
	{store.ErrDeleted, "deleted"},
	{store.ErrClosed, "stopping"},
	{store.ErrMoved, "moved"},
	{store.ErrUnavailable, "unavailable"},
	{ErrTooLarge, "too-large"},
	{batch.ErrTooLarge, "too-large"},
	{batch.ErrCorrupt, "corrupt"},
	{ErrTime, "time"},
	{ErrDeliverAt, "time"},
	{ErrFenced, "producer-replaced"},
	{ErrReplaced, "producer-replaced"},
	{ErrOutOfOrder, "out-of-order"},
}

func (s *Stats) refuse(p Port, err error) {
	reason := "other"
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			reason = r.reason
			break
		}
	}
	s.refused.of(Refusal{p, reason}).Add(1)
}

// counts are counters by keys. The zero value is empty.
type counts[K comparable] struct {
	mu  sync.Mutex // guards what follows
	all map[K]*atomic.Int64
}

func (c *counts[K]) of(key K) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.all[key]
	if n == nil {
		if c.all == nil {
			c.all = make(map[K]*atomic.Int64)
		}
		n = new(atomic.Int64)
		c.all[key] = n
	}
	return n
}

func (c *counts[K]) each(f func(key K, n int64)) {
	c.mu.Lock()
	all := maps.Clone(c.all)
	c.mu.Unlock()
	for key, n := range all {
		f(key, n.Load())
	}
}

// A traffic counts the messages of a topic that came and went by each port.
type traffic struct{ in, out [ports]flow }

type flow struct{ messages, bytes atomic.Int64 }

func (f *flow) add(messages, bytes int64) {
	f.messages.Add(messages)
	f.bytes.Add(bytes)
}

// flows are the counters of the topic. Most topics of a broker that has many are idle, and have none.
func (t *Topic) flows() *traffic {
	if f := t.traffic.Load(); f != nil {
		return f
	}
	t.traffic.CompareAndSwap(nil, new(traffic))
	return t.traffic.Load()
}

// CountOut counts messages that a client of a port is sent, and their bytes as they are stored.
func (t *Topic) CountOut(p Port, messages, bytes int64) {
	if messages > 0 {
		t.flows().out[p].add(messages, bytes)
	}
}

// countIn counts the messages of batches that are being stored.
func (t *Topic) countIn(p Port, b []byte) {
	var messages int64
	for rest := b; len(rest) > 0; {
		next, behind, err := batch.Next(rest)
		if err != nil {
			break // which the log has refused
		}
		messages += int64(next.Count())
		rest = behind
	}
	t.flows().in[p].add(messages, int64(len(b)))
}

// A Traffic is the messages and bytes that came or went by a port since the broker's start, in the form in which they
// are stored.
type Traffic struct{ Messages, Bytes int64 }

// Traffic is that of a port.
func (t *Topic) Traffic(p Port) (in, out Traffic) {
	f := t.traffic.Load()
	if f == nil {
		return in, out
	}
	return f.in[p].now(), f.out[p].now()
}

func (f *flow) now() Traffic { return Traffic{f.messages.Load(), f.bytes.Load()} }
