// Package coordinator keeps the membership of Kafka's consumer groups: the
// classic protocol, in which members join, one of them assigns the partitions, and
// all fetch their assignments and then send heartbeats. It is a state machine without
// sockets: a request that waits for other members is completed by a callback, and time
// comes from a Clock. Committed offsets are stored elsewhere; the coordinator decides which
// client may commit.
//
// A generation: members join (PreparingRebalance) and learn which of them leads, the leader
// sends the assignments (CompletingRebalance), all members get theirs (Stable). A member
// that joins, leaves or sends no heartbeat starts the next generation.
//
// The rules are those of Apache Kafka's GroupCoordinator with KIP-62 (rebalance
// timeout), KIP-134 (initial delay), KIP-345 (static members), KIP-394 (member
// id required) and KIP-814 (a returning static leader skips assigning). They
// live in memory only: after a restart members get ErrUnknownMember and join again.
package coordinator

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Errors of requests, for which Kafka has error codes of similar names.
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

// Acquire reserves a group for Kafka's members until release is called. Its error, which says
// which other consumers use the group, is returned unchanged. The coordinator calls it with its
// lock held: it must be quick and must not call the coordinator. A group may be acquired several
// times.
type Acquire func(group string) (release func(), err error)

// Options are the settings of a Coordinator.
type Options struct {
	Limits         Limits        // DefaultLimits, or changed
	RebalanceDelay time.Duration // time that a group's first members wait for more; each new one restarts it
	Acquire        Acquire       // nil for none
	Clock          Clock         // nil for the system's
	Log            *slog.Logger  // nil for none
}

// A Coordinator keeps all groups of a broker. Its methods may be called by any
// goroutine and do not block. They keep strings of a request, and no other parts of it.
type Coordinator struct {
	opts  Options
	clock Clock
	log   *slog.Logger

	mu      sync.Mutex // guards what follows and all groups
	groups  map[string]*group
	used    int64    // memory of members in bytes, see Limits.MaxBytes
	replies []func() // callbacks to call after mu is unlocked
	closed  bool
}

// New returns a Coordinator without groups.
func New(o Options) *Coordinator {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Acquire == nil {
		o.Acquire = func(string) (func(), error) { return func() {}, nil }
	}
	return &Coordinator{opts: o, clock: o.Clock, log: o.Log, groups: make(map[string]*group)}
}

// Close completes all waiting requests with ErrClosed, and all later ones.
func (c *Coordinator) Close() {
	c.mu.Lock()
	defer c.unlock()
	c.closed = true
	for _, g := range c.groups {
		g.close()
	}
}

// unlock unlocks mu and then calls the callbacks: they may call the coordinator.
func (c *Coordinator) unlock() {
	replies := c.replies
	c.replies = nil
	c.mu.Unlock()
	for _, reply := range replies {
		reply()
	}
}

// find finds a group that has, or had, members.
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

// findOrCreate creates the group if there is none. releaseVacant removes it again if no member
// joins.
func (c *Coordinator) findOrCreate(name string) (*group, error) {
	g, err := c.find(name)
	if err != ErrUnknownGroup {
		return g, err
	}
	if len(c.groups) >= c.opts.Limits.MaxGroups && !c.evict() {
		c.log.Warn("too many groups", "group", name, "limit", c.opts.Limits.MaxGroups)
		return nil, ErrTooManyGroups
	}
	g = newGroup(c, name)
	c.groups[name] = g
	return g, nil
}

// evict forgets a vacant group.
func (c *Coordinator) evict() bool {
	for _, g := range c.groups {
		if g.vacant() {
			g.forget()
			return true
		}
	}
	return false
}

// charge reserves n bytes; a negative n releases them and does not fail.
func (c *Coordinator) charge(n int64) error {
	if c.used+n > c.opts.Limits.MaxBytes {
		return ErrFull
	}
	c.used += n
	return nil
}
