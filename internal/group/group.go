// Package group owns consumer groups: how far each has come in each partition,
// which messages are on their way to which member, which have failed and wait,
// and what of that is kept in the journal, so that it survives a restart. It
// knows no sockets and no messages, only offsets.
//
// A message's life in a group: free, then leased to one member, then either
// acknowledged for good, or given back and free again, or failed and waiting
// until it is free again. The committed offset is the end of the unbroken run
// of acknowledged messages.
//
// Locks are taken in this order: a Member's, the Groups', a Position's, the
// journal's.
package group

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Default is the group of those who name none.
const Default = "default"

// A Key names a position.
type Key struct {
	Group, Topic string
	Partition    int
}

// A State is what the journal keeps of a position.
type State struct {
	Offset   int64     // committed
	Beyond   []Span    // acknowledged above it, ascending
	Failed   []Failure // not acknowledged, ascending
	Epoch    int32     // leader epoch that a Kafka client gave with its commit, or NoEpoch
	Metadata string    // what a Kafka client has said with its commit, 32767 bytes at most
}

// NoEpoch stands for no leader epoch.
const NoEpoch = -1

// A Failure counts how often a message has failed.
type Failure struct {
	Offset   int64
	Attempts int
}

// Bounds on what is kept of a position; after a restart what is not kept is
// delivered again, or its attempts are counted anew.
const (
	maxBeyond = 1000
	maxFailed = 1000
)

// Groups are all groups of a broker. Its methods may be called by any goroutine.
type Groups struct {
	journal journal

	mu        sync.Mutex // guards what follows
	positions map[Key]*Position
	uses      map[string]*use
}

// New has no groups yet. write makes positions durable: see Write.
func New(write Write) *Groups {
	g := &Groups{positions: make(map[Key]*Position), uses: make(map[string]*use)}
	g.journal.write = write
	g.journal.idle.L = &g.journal.mu
	return g
}

// Load sets a position to what the journal has kept of it. It is for the start,
// before anything else is called.
func (g *Groups) Load(k Key, s State) {
	g.positions[k] = newPosition(k, g, s)
}

// Position is the one that k names, until Close. A new one begins at offset 0
// and is forgotten again if nothing is acknowledged.
func (g *Groups) Position(k Key) *Position {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.positions[k]
	if p == nil {
		p = &Position{key: k, groups: g, epoch: NoEpoch, fresh: true}
		g.positions[k] = p
	}
	p.users++
	return p
}

// Close says that a caller of Groups.Position has no more to do with it.
func (p *Position) Close() {
	if p.groups == nil {
		return
	}
	p.groups.mu.Lock()
	defer p.groups.mu.Unlock()
	p.users--
	if p.users > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetOrder()
	if p.fresh && p.groups.positions[p.key] == p {
		delete(p.groups.positions, p.key)
	}
}

// find returns the position that k names, or nil.
func (g *Groups) find(k Key) *Position {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.positions[k]
}

// Committed is what is kept of the position that k names; false if nothing is.
func (g *Groups) Committed(k Key) (State, bool) {
	p := g.find(k)
	if p == nil {
		return State{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state(), !p.fresh
}

// Commit sets a position, whatever it was, and forgets what was leased or
// acknowledged above. It is for a group without members, or whose members are
// another protocol's.
func (g *Groups) Commit(k Key, s State) {
	p := g.Position(k)
	defer p.Close()
	p.mu.Lock()
	p.committed, p.epoch, p.metadata = s.Offset, s.Epoch, s.Metadata
	p.held, p.retries, p.attempts, p.order, p.parked, p.fresh = nil, nil, nil, nil, 0, false
	p.mark()
	p.finish(true)
}

// Delete forgets the positions that match, also in the journal. Members that
// still use one go on, but nothing of it is kept.
func (g *Groups) Delete(match func(Key) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, p := range g.positions {
		if !match(k) {
			continue
		}
		delete(g.positions, k)
		p.mu.Lock()
		if !p.fresh {
			p.mark()
		}
		p.gone = true
		p.mu.Unlock()
	}
}

// An Entry is a position and what the journal keeps of it.
type Entry struct {
	Key
	State
	Gone bool // deleted: nothing is kept
}

// All lists what there is to keep, by group, topic and partition.
func (g *Groups) All() []Entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Entry, 0, len(g.positions))
	for k, p := range g.positions {
		p.mu.Lock()
		if !p.fresh {
			all = append(all, Entry{Key: k, State: p.state()})
		}
		p.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Entry) int { return a.compare(b.Key) })
	return all
}

func (k Key) compare(o Key) int {
	return cmp.Or(strings.Compare(k.Group, o.Group), strings.Compare(k.Topic, o.Topic), cmp.Compare(k.Partition, o.Partition))
}

// Numbers are a position as its administrator sees it.
type Numbers struct {
	Key
	Committed      int64
	Unacknowledged int64 // leased to members
	Waiting        int64 // failed, or behind a message with the same key
	Beyond         int64 // acknowledged above the committed offset
	Members        int   // connections that use the position
}

// Numbers lists all positions, those included that nothing is kept of yet.
func (g *Groups) Numbers() []Numbers {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Numbers, 0, len(g.positions))
	for k, p := range g.positions {
		n := p.numbers()
		n.Key, n.Members = k, p.users
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b Numbers) int { return a.compare(b.Key) })
	return all
}

// A Commit is a position within a group.
type Commit struct {
	Topic       string
	Partition   int
	Offset      int64
	LeaderEpoch int32  // NoEpoch for none
	Metadata    string // of the client
}
