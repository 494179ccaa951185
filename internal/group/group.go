// Package group owns consumer groups: how far each has come in each partition,
// which messages are leased to which member, which have failed and wait, and what the
// positions log keeps of that, so that it survives a restart. It knows no sockets and no
// messages, only offsets and which of them have records.
//
// A message's life in a group: free, then leased to one member, then either
// acknowledged for good, or given back and free again, or failed and waiting
// until it is free again. The committed offset is the end of the unbroken run
// of acknowledged messages. An offset without a record (compaction has removed it, or it
// is a transaction's mark) is consumed with the record before it, and has no number.
//
// A Position is made of nouns that own a part of its state each: leases, failures, order,
// waiters, and saved, which is how it stands with the positions log.
//
// Locks are taken in this order: a Member's, the Groups', a Position's, then the
// positions log's, a log's or a Waiter's.
package group

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Default is the group of a request that names none.
const Default = "default"

// A Key names a position.
type Key struct {
	Group, Topic string
	Partition    int
}

// An ID is that of a topic: each incarnation has its own. A position belongs to one
// incarnation; the zero ID is that of positions logs that are older than IDs.
type ID [16]byte

// A State is what the positions log keeps of a position.
type State struct {
	TopicID    ID
	Offset     int64     // committed; negative where a Kafka client has committed that: then leases begin at 0
	AckedAhead []Span    // acknowledged above it, ascending
	Failed     []Failure // not acknowledged, ascending
	Epoch      int32     // leader epoch that a Kafka client gave with its commit, or NoEpoch
	Metadata   string    // of a Kafka client's commit, 32767 bytes at most
	Assigned   bool      // last written by a member with assigned partitions (Kafka), not leases
	At         int64     // when the group was last active, in milliseconds since 1970; 0 where no times are kept
}

// NoEpoch stands for no leader epoch.
const NoEpoch = -1

// A Failure counts how often a message has failed.
type Failure struct {
	Offset   int64
	Attempts int
}

// Bounds on what is kept of a position. A message above the bound is delivered again after a
// restart, or its attempts are counted from 1.
const (
	maxAckedAhead = 10_000
	maxFailed     = 1000
)

// PositionCost is the memory of a position with its share of the indexes, without its
// names and its metadata, in bytes.
const PositionCost = 768

// ErrTooMany is the error for a position above MaxBytes.
var ErrTooMany = errors.New("too many groups: no more positions can be kept")

// Groups are all groups of a broker. Its methods may be called by any goroutine.
type Groups struct {
	// MaxBytes is what all positions may take in memory; 0 for no bound. It is
	// set before anything is called.
	MaxBytes int64

	// Clock says when messages are due; nil for the system's clock. It is set before
	// anything is called.
	Clock Clock

	// Now is the time by which positions are kept, in milliseconds since 1970; nil for
	// no times. It is set before anything is called.
	Now func() int64

	// NoteAgain bounds how old the time of a group's positions may be when its last member
	// leaves, in milliseconds: if they are older the positions log gets the time. 0 is for never. It
	// is set with Now.
	NoteAgain int64

	writer writer
	keys   atomic.Int64 // of unacknowledged messages, in groups that are ordered by key

	mu      sync.Mutex // guards what follows
	sets    map[string]*set
	latest  *directory // of the sets; nil if one has come or gone
	changes int        // of the sets that there are
	used    int64      // bytes, see MaxBytes
	uses    map[string]*use
}

// A set is the positions of one group.
type set struct {
	positions map[topicPartition]*Position // guarded by the Groups' mu
	turns     map[string]*turn             // by topic; guarded by the Groups' mu
	kept      atomic.Int64                 // of the positions: those that something is kept of
	commits   atomic.Int64                 // on their way to the positions log
	left      int64                        // when the last member left, in this life; guarded by the Groups' mu
	noted     int64                        // when NoteAgain was last heeded; guarded by the Groups' mu
}

// A turn is shared by the positions of a group in one topic.
type turn struct {
	next      atomic.Int64 // partition that a member begins with
	positions int          // that share it; guarded by the Groups' mu
}

type topicPartition struct {
	topic  string
	number int
}

func (k Key) inTopic() topicPartition { return topicPartition{k.Topic, k.Partition} }

// New has no groups yet. write makes positions durable: see Write.
func New(write Write) *Groups {
	g := &Groups{sets: make(map[string]*set), uses: make(map[string]*use)}
	g.writer.write, g.writer.time = write, g.time
	g.writer.idle.L = &g.writer.mu
	g.writer.hurry = make(chan struct{}, 1)
	return g
}

// Load makes a position of what the positions log has kept of it, also above MaxBytes. It is for
// the start, before anything else is called.
func (g *Groups) Load(k Key, s State) *Position {
	p := loadPosition(k, g, s)
	g.register(p)
	p.set.kept.Add(1)
	return p
}

// register adds a position to those of its group. The caller holds mu.
func (g *Groups) register(p *Position) {
	s := g.sets[p.key.Group]
	if s == nil {
		s = &set{positions: make(map[topicPartition]*Position), turns: make(map[string]*turn)}
		g.sets[p.key.Group] = s
		g.latest = nil
		g.changes++
	}
	p.set = s
	s.positions[p.key.inTopic()] = p
	g.used += p.kept.cost()
	if p.turn = s.turns[p.key.Topic]; p.turn == nil {
		p.turn = new(turn)
		s.turns[p.key.Topic] = p.turn
	}
	p.turn.positions++
}

// remove takes a position off those of its group. The caller holds mu, and gives the bytes
// back.
func (g *Groups) remove(p *Position) {
	delete(p.set.positions, p.key.inTopic())
	if p.turn.positions--; p.turn.positions == 0 {
		delete(p.set.turns, p.key.Topic)
	}
	if len(p.set.positions) == 0 {
		delete(g.sets, p.key.Group)
		g.latest = nil
		g.changes++
	}
}

// Position is the one that k names, in the topic's incarnation id, until Close.
// A new one begins at offset 0 and is forgotten again if nothing is acknowledged.
// The error is ErrTooMany; an existing position is found all the same.
func (g *Groups) Position(k Key, id ID) (*Position, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.find(k); p != nil {
		p.users++
		return p, nil
	}
	p := makePosition(k, id, g)
	p.kept.unsaved, p.users = true, 1
	if err := g.checkSpace(p.kept.cost()); err != nil {
		return nil, err
	}
	g.register(p)
	return p, nil
}

// checkSpace returns ErrTooMany if n bytes more may not be used. The caller holds mu.
func (g *Groups) checkSpace(n int64) error {
	if g.MaxBytes > 0 && g.used+n > g.MaxBytes {
		return fmt.Errorf("%w: they take %d bytes, the limit is %d", ErrTooMany, g.used, g.MaxBytes)
	}
	return nil
}

// Reserve reserves memory for metadata, in bytes. The error is ErrTooMany.
func (p *Position) Reserve(metadata int) error {
	g := p.groups
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	more := metadata - p.kept.charged // the most that it has had is charged until it is deleted
	if more <= 0 || p.kept.gone.Load() {
		return nil
	}
	if err := g.checkSpace(int64(more)); err != nil {
		return err
	}
	p.kept.charged += more
	g.used += int64(more)
	return nil
}

// Close ends a use that began with Groups.Position.
func (p *Position) Close() {
	g := p.groups
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p.users--
	if p.users > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetOrder()
	p.forget()
}

// forget removes a position that nobody uses and of which nothing is kept. If the disk may
// hold something the position stays until the positions log has written that it is gone, and begins
// at 0. The caller holds mu, and that of the Groups.
func (p *Position) forget() {
	g := p.groups
	switch {
	case p.users > 0 || !p.kept.unsaved || p.kept.gone.Load():
	case p.kept.uncertain:
		p.leases = leases{}
	default:
		p.kept.gone.Store(true)
		g.remove(p)
		g.used -= p.kept.cost()
	}
}

// find returns the position that k names, or nil. The caller holds mu.
func (g *Groups) find(k Key) *Position {
	if s := g.sets[k.Group]; s != nil {
		return s.positions[k.inTopic()]
	}
	return nil
}

// Committed is what is durable of the position that k names; false if nothing is.
func (g *Groups) Committed(k Key) (Commit, bool) {
	g.mu.Lock()
	p := g.find(k)
	g.mu.Unlock()
	if p == nil {
		return Commit{Topic: k.Topic, Partition: k.Partition, LeaderEpoch: NoEpoch}, false
	}
	return p.kept.commit()
}

// CommittedOf is what is durable of a group's positions, by topic and partition.
func (g *Groups) CommittedOf(name string) []Commit {
	var all []Commit
	for _, p := range g.of(name) {
		if c, ok := p.kept.commit(); ok {
			all = append(all, c)
		}
	}
	return all
}

// of are the positions of a group, by topic and partition.
func (g *Groups) of(name string) []*Position {
	g.mu.Lock()
	var all []*Position
	if s := g.sets[name]; s != nil {
		all = make([]*Position, 0, len(s.positions))
		for _, p := range s.positions {
			all = append(all, p)
		}
	}
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b *Position) int { return a.key.compare(b.key) })
	return all
}

// Delete forgets the positions of a group that match, also in the positions log.
// Members that still use one go on, but nothing of it is kept.
func (g *Groups) Delete(name string, match func(Key) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sets[name]; s != nil {
		g.deleteFrom(s, func(p *Position) bool { return match(p.key) })
	}
}

// DeleteUnused forgets all positions of a group that has no members, also in the positions log,
// and reports whether anything was kept of it. A later member gets new positions. The error
// is an *InUseError, and nothing is forgotten.
func (g *Groups) DeleteUnused(name string) (kept bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.evict(name, "")
	if n, by := g.members(name); n > 0 {
		return false, &InUseError{name, by}
	}
	s := g.sets[name]
	if s == nil || s.kept.Load() == 0 {
		return false, nil
	}
	g.deleteFrom(s, func(*Position) bool { return true })
	return true, nil
}

// DeleteAll is Delete for all groups.
func (g *Groups) DeleteAll(match func(Key) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sets {
		g.deleteFrom(s, func(p *Position) bool { return match(p.key) })
	}
}

// DeleteOthers forgets the positions in a topic that belong to another incarnation of
// it than id, as DeleteAll does, and returns their number.
func (g *Groups) DeleteOthers(topic string, id ID) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sets {
		n += g.deleteFrom(s, func(p *Position) bool { return p.key.Topic == topic && p.kept.topic != id })
	}
	return n
}

// deleteFrom forgets the positions of a set that match. The caller holds mu.
func (g *Groups) deleteFrom(s *set, match func(*Position) bool) (n int) {
	for _, p := range s.positions {
		if !match(p) {
			continue
		}
		n++
		g.remove(p)
		p.mu.Lock()
		if p.kept.isForgettable() {
			g.used -= p.kept.cost()
		} else {
			p.kept.mark() // the bytes are given back when that is written
		}
		if !p.kept.unsaved {
			s.kept.Add(-1)
		}
		p.kept.gone.Store(true)
		if p.users == 0 {
			p.forgetOrder()
		}
		p.mu.Unlock()
	}
	return n
}

// An Entry is a position and what the positions log keeps of it.
type Entry struct {
	Key
	State
	Gone bool // deleted: nothing is kept
}

// Size is what the entry takes in the positions log, about, in bytes.
func (e Entry) Size() int {
	return 100 + len(e.Group) + len(e.Key.Topic) + len(e.Metadata) + 4*len(e.AckedAhead) + 4*len(e.Failed)
}

// Of lists what there is to keep of a group, by topic and partition.
func (g *Groups) Of(name string) []Entry {
	var all []Entry
	for _, p := range g.of(name) {
		p.mu.Lock()
		if !p.kept.unsaved && !p.kept.gone.Load() {
			all = append(all, Entry{Key: p.key, State: p.kept.state()})
		}
		p.mu.Unlock()
	}
	return all
}

func (k Key) compare(o Key) int {
	return cmp.Or(strings.Compare(k.Group, o.Group), strings.Compare(k.Topic, o.Topic), cmp.Compare(k.Partition, o.Partition))
}

// A Listed group is one of which something is kept, or that has members.
type Listed struct {
	Name       string
	Kept       bool
	Members    int
	Membership Membership // of the members
}

// List lists all groups by name.
func (g *Groups) List() []Listed {
	g.mu.Lock()
	all := make([]Listed, 0, len(g.sets))
	for name, s := range g.sets {
		if s.kept.Load() > 0 {
			n, u := g.members(name)
			all = append(all, Listed{name, true, n, u})
		}
	}
	for name := range g.uses {
		if s := g.sets[name]; s == nil || s.kept.Load() == 0 {
			n, u := g.members(name)
			all = append(all, Listed{name, false, n, u})
		}
	}
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Keeps reports whether the positions log has something of a group.
func (g *Groups) Keeps(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sets[name]
	return s != nil && s.kept.Load() > 0
}

// A Commit is a position within a group.
type Commit struct {
	Topic       string
	Partition   int
	Offset      int64  // negative, from a Kafka client: no position
	LeaderEpoch int32  // NoEpoch for none
	Metadata    string // of the client
}
