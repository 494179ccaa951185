// Package coordinator keeps the membership of Kafka's consumer groups: the
// classic protocol, in which members join, one of them divides the partitions,
// all fetch their part and then send heartbeats. It is a state machine without
// sockets: what waits for other members is answered by a callback, and time
// comes from a Clock. Committed offsets are kept elsewhere; the coordinator says
// who may commit.
//
// A generation's life: members join (PreparingRebalance), each is told who leads,
// the leader hands in the assignment (CompletingRebalance), all get their part of
// it (Stable). A member that joins, leaves or falls silent begins the next one.
//
// The rules are those of Apache Kafka's GroupCoordinator with KIP-62 (rebalance
// timeout), KIP-134 (initial delay), KIP-345 (static members), KIP-394 (member
// id required) and KIP-814 (a returning static leader skips assigning). They
// live in memory only: after a restart members are told that they are unknown,
// and join again.
package coordinator

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// What requests may be answered. Kafka's error codes are named for the same.
var (
	ErrUnknownMember     = errors.New("unknown member")
	ErrIllegalGeneration = errors.New("another generation of the group")
	ErrRebalance         = errors.New("the group is rebalancing: join again")
	ErrMemberIDRequired  = errors.New("join again with the member id given")
	ErrProtocol          = errors.New("the group's members have no such protocol in common")
	ErrFenced            = errors.New("another member has taken over this group instance id")
	ErrSessionTimeout    = errors.New("session timeout out of range")
	ErrGroupName         = errors.New("not a group's name")
	ErrFull              = errors.New("too many members, or too much of their data")
	ErrTooManyGroups     = errors.New("too many groups")
	ErrNotEmpty          = errors.New("the group has members")
	ErrUnknownGroup      = errors.New("unknown group")
	ErrClosed            = errors.New("the coordinator is closed")
)

// A Claim takes a group for Kafka's members until release is called. Its error,
// which says who has it, is passed on as it is. It is called with the coordinator's lock held: it must be
// quick and must not call back. One group may be claimed several times.
type Claim func(group string) (release func(), err error)

// Options are what New may be told.
type Options struct {
	Limits         Limits        // DefaultLimits, or changed
	RebalanceDelay time.Duration // how long a group's first members wait for more; it starts anew with each that comes
	Claim          Claim         // nil for none
	Clock          Clock         // nil for the system's
	Log            *slog.Logger  // nil for none
}

// A Coordinator keeps all groups of a broker. Its methods may be called by any
// goroutine and do not block. What they are given is not kept, except strings.
type Coordinator struct {
	opts  Options
	clock Clock
	log   *slog.Logger

	mu      sync.Mutex // guards what follows and all groups
	groups  map[string]*group
	used    int64    // bytes that members take, see Limits.MaxBytes
	answers []func() // to be called when mu is free again
	closed  bool
}

// New has no groups yet.
func New(o Options) *Coordinator {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Claim == nil {
		o.Claim = func(string) (func(), error) { return func() {}, nil }
	}
	return &Coordinator{opts: o, clock: o.Clock, log: o.Log, groups: make(map[string]*group)}
}

// Close answers all that wait with ErrClosed, and all requests from now on.
func (c *Coordinator) Close() {
	c.mu.Lock()
	defer c.unlock()
	c.closed = true
	for _, g := range c.groups {
		g.close()
	}
}

// unlock gives the lock back and then calls the answers: they may call the
// coordinator again.
func (c *Coordinator) unlock() {
	answers := c.answers
	c.answers = nil
	c.mu.Unlock()
	for _, answer := range answers {
		answer()
	}
}

// find is the group of this name that has, or had, members.
func (c *Coordinator) find(name string) (*group, error) {
	if c.closed {
		return nil, ErrClosed
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	if g := c.groups[name]; g != nil {
		return g, nil
	}
	return nil, ErrUnknownGroup
}

// findOrMake makes the group if there is none. If nobody joins, settle removes
// it again.
func (c *Coordinator) findOrMake(name string) (*group, error) {
	g, err := c.find(name)
	if err != ErrUnknownGroup {
		return g, err
	}
	if len(c.groups) >= c.opts.Limits.MaxGroups && !c.evict() {
		c.log.Warn("too many groups", "limit", c.opts.Limits.MaxGroups)
		return nil, ErrTooManyGroups
	}
	g = newGroup(c, name)
	c.groups[name] = g
	return g, nil
}

// evict forgets a group that nobody is in.
func (c *Coordinator) evict() bool {
	for _, g := range c.groups {
		if g.vacant() {
			g.die()
			return true
		}
	}
	return false
}

// charge reserves n bytes, which may be negative: that does not fail.
func (c *Coordinator) charge(n int64) error {
	if c.used+n > c.opts.Limits.MaxBytes {
		return ErrFull
	}
	c.used += n
	return nil
}
