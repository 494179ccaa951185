package kafka

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// A node is a broker at the address that clients connect to.
type node struct {
	id   int32
	host string
	port int32
}

// nodes are the brokers that a client gets to know, by number. A broker that is alone is at the address that the client
// has connected to, unless another one is advertised.
func (c *call) nodes() (all []node) {
	s := c.server
	if s.nodes == nil {
		host, port := c.conn.address()
		return []node{{s.opts.NodeID, host, port}}
	}
	for _, n := range s.nodes.Live() {
		if host, port, err := splitAddress(n.Kafka); err == nil {
			all = append(all, node{n.ID, host, port})
		}
	}
	return all
}

// self is this broker, the owner of all topics.
func (c *call) self() node {
	all := c.nodes()
	if i := slices.IndexFunc(all, func(n node) bool { return n.id == c.server.opts.NodeID }); i >= 0 {
		return all[i]
	}
	host, port := c.conn.address()
	return node{c.server.opts.NodeID, host, port}
}

// replicas is how many brokers keep each message.
func (s *Server) replicas() int {
	if s.nodes == nil {
		return 1
	}
	return s.nodes.Replicas()
}

// isNode reports whether a broker of this number lives.
func (s *Server) isNode(id int32) bool {
	if id == s.opts.NodeID || s.nodes == nil {
		return id == s.opts.NodeID
	}
	return slices.ContainsFunc(s.nodes.Live(), func(n broker.Node) bool { return n.ID == id })
}

// canHold reports whether brokers may be the replicas of a partition, which clients may name, but not choose.
func (s *Server) canHold(ids []int32) bool {
	for i, id := range ids {
		if !s.isNode(id) || slices.Contains(ids[:i], id) {
			return false
		}
	}
	return len(ids) == s.replicas()
}

// nodeNamed is the broker of a number, as a client writes it; this one without a name.
func (s *Server) nodeNamed(name string) (broker.Node, error) {
	self := broker.Node{ID: s.opts.NodeID, Kafka: s.opts.Advertise}
	all := []broker.Node{self}
	if s.nodes != nil {
		all = s.nodes.Live()
	}
	for _, n := range all {
		if name == strconv.Itoa(int(n.ID)) || name == "" && n.ID == self.ID {
			return n, nil
		}
	}
	if s.nodes == nil {
		return self, fmt.Errorf("%w: the only broker is %d, not %q", kerr.InvalidRequest, self.ID, name)
	}
	return self, fmt.Errorf("%w: no broker %q lives", kerr.InvalidRequest, name)
}

// whichHold says what canHold asks for.
func (s *Server) whichHold() string {
	if s.nodes == nil {
		return fmt.Sprintf("the only broker is %d", s.opts.NodeID)
	}
	return fmt.Sprintf("a partition is on %d brokers that live", s.nodes.Replicas())
}

// holders are the brokers that clients get to know as the replicas of all partitions: the owner, which leads, and others that
// live. All of them are in sync, because each message is on most of them before a client gets it.
func (s *Server) holders() []int32 {
	ids := []int32{s.opts.NodeID}
	if s.nodes == nil {
		return ids
	}
	for _, n := range s.nodes.Live() {
		if n.ID != s.opts.NodeID && len(ids) < s.nodes.Replicas() {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// partitionsOf describes the partitions of a topic from first up to end.
func partitionsOf(t *broker.Topic, first, end int, holders []int32) (all []kmsg.MetadataResponseTopicPartition) {
	for i, log := range t.Partitions()[first:end] {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader = int32(first+i), holders[0]
		p.LeaderEpoch, p.Replicas, p.ISR = leaderEpoch(t, p.Partition), holders, holders
		if err := log.Available(); err != nil {
			p.ErrorCode, p.Leader, p.ISR = kerr.LeaderNotAvailable.Code, -1, nil
		}
		all = append(all, p)
	}
	return all
}
