package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mbus/internal/tcpserver"
)

// Times of carrying.
const (
	ownerTime = 15 * time.Second       // for an owner to be there, before a client is refused
	lookAgain = 100 * time.Millisecond // after an owner that did not take a client
)

// PortLinks is the port, among a member's, at which other nodes bring their clients.
const PortLinks = "links"

// A Road is the way of a client's connection to another node.
type Road interface {
	// Carry brings a client of a port to the owner, and returns when the client has ended, or soon after ctx. The
	// error is ErrElsewhere, and the client as it was, if the node there can't be reached or does not own the topics.
	Carry(ctx context.Context, port string, c tcpserver.Conn, owner Member) error
	// Refuse tells a client that no node owns the topics, and closes.
	Refuse(port string, c tcpserver.Conn)
}

// ErrElsewhere says that a client could not be brought to a node.
var ErrElsewhere = errors.New("that node does not own the topics")

// A carrier brings clients of this node to the service, here or on another node.
type carrier struct {
	node int32
	road Road
	roll *roll
	here func() Service // nil if this node does not own the topics
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	carried map[*carriage]struct{}
	stopped bool
	running sync.WaitGroup // clients that are on the way
}

// A carriage is a client that is carried to an owner.
type carriage struct {
	epoch uint64 // of the owner
	cut   context.CancelFunc
}

// Take serves a client of a port, here or on another node. It returns at once.
func (c *carrier) Take(port string, client tcpserver.Conn) {
	if s := c.here(); s != nil && s.Take(port, client) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		client.Abort()
		return
	}
	c.running.Go(func() { c.bring(port, client) })
}

// bring finds an owner for a client, and returns when the client has ended. A client that has closed its sending side
// meanwhile is served, too: it may have sent all that it has to say.
func (c *carrier) bring(port string, client tcpserver.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), ownerTime)
	defer cancel()
	for ctx.Err() == nil && !c.isStopped() {
		changed := c.roll.watch()
		if c.tryOwner(port, client) {
			return
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(lookAgain):
		}
	}
	if c.isStopped() {
		client.Abort()
		return
	}
	c.log.Info("a client was refused, because no node owns the topics", "port", port, "client", client.RemoteAddr())
	c.road.Refuse(port, client)
}

// tryOwner has the owner serve a client, and reports false, with the client as it was, if that can't be now.
func (c *carrier) tryOwner(port string, client tcpserver.Conn) bool {
	if s := c.here(); s != nil {
		return s.Take(port, client)
	}
	owner, ok := c.roll.owner()
	if !ok || owner.Node == c.node {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	of := &carriage{owner.Owns, cancel}
	if !c.enter(of) {
		return false
	}
	defer c.leave(of)
	err := c.road.Carry(ctx, port, client, owner)
	if !errors.Is(err, ErrElsewhere) {
		return true
	}
	c.log.Debug("the owner did not take a client", "node", owner.Node, "reason", err)
	return false
}

// enter notes a client, unless the owner to which it goes is not the owner any more.
func (c *carrier) enter(of *carriage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.roll.epoch() != of.epoch {
		return false
	}
	c.carried[of] = struct{}{}
	return true
}

func (c *carrier) leave(of *carriage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.carried, of)
}

// run cuts off the clients of each owner that another has replaced, until ctx ends: a node that is frozen keeps its
// connections open. The clients see a reset.
func (c *carrier) run(ctx context.Context) {
	for {
		changed := c.roll.watch()
		c.cut(c.roll.epoch())
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// cut cuts off the clients of owners of other epochs than this one.
func (c *carrier) cut(epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for of := range c.carried {
		if of.epoch != epoch {
			of.cut()
		}
	}
}

// stop cuts all clients off, takes no more, and waits until the last one has ended.
func (c *carrier) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.cut(0)
	c.roll.wake()
	c.running.Wait()
}

func (c *carrier) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}
