// Package cluster makes several brokers one. One node owns all topics and serves all clients; the others carry
// their clients' connections to it. The package owns the choice of the owner, and the roll of the nodes.
package cluster

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"
)

// PortLinks is the port, among a member's, at which other nodes bring their clients.
const PortLinks = "links"

// An Engine is what the nodes share.
type Engine interface {
	Leadership
	Bus
}

// Options configure Start.
type Options struct {
	Node    int32
	Version string            // of the program
	Ports   map[string]string // host:port at which clients and nodes reach each port of this node

	Engine Engine
	Serve  func(Owned) (Service, error) // starts to serve clients; it closes the store if it fails
	Lead   func(Service, Member)        // says where clients are to go, again and again: see Node.lead
	Report func(*Member)                // fills in what changes: Free, Size, Exposed, Open
	Log    *slog.Logger
}

// A Node is this broker's part of the cluster. Any goroutine may call its methods.
type Node struct {
	o         Options
	start     string
	roll      *roll
	ownership *ownership

	stopOwning, stopRest context.CancelFunc
	owning, rest         sync.WaitGroup

	leading sync.Mutex // so that what is said last is true
	pause   pause      // without an owner

	mu      sync.Mutex // guards what follows
	service Service    // nil if this node does not own the topics
	epoch   uint64
}

// Start makes the node known to the others. Own has it own the topics, too.
func Start(o Options) (*Node, error) {
	n := &Node{o: o, start: rand.Text()}
	n.roll = newRoll(o.Engine, n.member, o.Log)
	n.ownership = &ownership{engine: o.Engine, serve: o.Serve, changed: n.change, log: o.Log}
	ctx, cancel := context.WithCancel(context.Background())
	n.stopRest = cancel
	unsubscribe, err := n.roll.open()
	if err != nil {
		cancel()
		return nil, err
	}
	n.rest.Go(func() {
		defer unsubscribe()
		n.roll.run(ctx)
	})
	n.rest.Go(func() { n.follow(ctx) })
	return n, nil
}

// Own has this node own the topics whenever it leads, until Stop. It is called once, when the engine is ready.
func (n *Node) Own() {
	ctx, cancel := context.WithCancel(context.Background())
	n.mu.Lock()
	n.stopOwning = cancel
	n.mu.Unlock()
	n.owning.Go(func() { n.ownership.run(ctx) })
}

// Stop hands the topics over, and says good-bye. The listeners have been closed before.
func (n *Node) Stop() {
	n.mu.Lock()
	stop := n.stopOwning
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
	n.owning.Wait()
	n.stopRest()
	n.rest.Wait()
}

// Service serves clients if this node owns the topics; else it is nil.
func (n *Node) Service() Service {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.service
}

// change notes that this node owns the topics, or is about to leave them, and tells the others at once.
func (n *Node) change(s Service, epoch uint64) {
	n.mu.Lock()
	n.service, n.epoch = s, epoch
	n.mu.Unlock()
	n.lead()
	n.roll.beat()
}

// follow leads clients to each owner that comes to be known, until ctx ends.
func (n *Node) follow(ctx context.Context) {
	for {
		changed := n.roll.watch()
		_, owned := n.Owner()
		n.pause.note(owned, time.Now())
		n.lead()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// lead says where clients are to go: to the service of this node; or to the node that has taken the topics over last,
// even if it is silent or leaves them, until another does. Nothing is true of both, which is so before there is a
// first owner, and when this node was the last one.
func (n *Node) lead() {
	n.leading.Lock()
	defer n.leading.Unlock()
	s, owner := n.Service(), Member{}
	if s == nil {
		if owner = n.roll.last(); owner.Node == n.o.Node {
			owner = Member{}
		}
	}
	n.o.Lead(s, owner)
}

// member is what this node says of itself.
func (n *Node) member() Member {
	m := Member{Node: n.o.Node, Start: n.start, Ports: n.o.Ports, Version: n.o.Version, Clock: time.Now().UnixMilli()}
	n.o.Report(&m)
	n.mu.Lock()
	defer n.mu.Unlock()
	m.Owns = n.epoch
	return m
}

// Space is the least that is free for data on any node, and the size of that disk, in bytes. Both are 0 if that is
// not known.
func (n *Node) Space() (free, size int64) { return n.roll.space() }

// Live are the nodes that live, by number, this one too.
func (n *Node) Live() []Member { return n.roll.live() }

// Owner is the node that owns the topics, if there is one.
func (n *Node) Owner() (Member, bool) { return n.roll.owner() }

// AwaitOwner waits until there is an owner, or ctx ends.
func (n *Node) AwaitOwner(ctx context.Context) (Member, bool) { return n.roll.await(ctx) }

// Changed is closed when the owner, or the nodes that live, have changed.
func (n *Node) Changed() <-chan struct{} { return n.roll.watch() }

// States of a node.
const (
	Up     = "up"
	Behind = "behind" // it has not all messages yet
	Gone   = "gone"
)

// A State is what this node knows of a node.
type State struct {
	Member
	State string
	Ahead time.Duration // its clock, against this node's
	Seen  time.Time     // its last heartbeat; zero if there was none since this node's start
}

// Nodes are all nodes that have been known since the start, by number.
func (n *Node) Nodes() (all []State) {
	for _, k := range n.roll.all() {
		s := State{Member: k.Member, State: Up, Ahead: k.ahead, Seen: k.seen}
		if !k.live {
			s.State = Gone
		}
		all = append(all, s)
	}
	return all
}
