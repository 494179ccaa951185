// Package group owns consumer groups: how far each has come in each partition,
// which messages are on their way to which member, and what of that is kept in
// the journal, so that it survives a restart. It knows no sockets and no
// messages, only offsets.
//
// A message's life in a group: free, then leased to one member, then either
// acknowledged for good or given back and free again. The committed offset is
// the end of the unbroken run of acknowledged messages.
package group

import "sync"

// Default is the group of those who name none.
const Default = "default"

// A Key names a position.
type Key struct {
	Group, Topic string
	Partition    int
}

// A State is what the journal keeps of a position.
type State struct {
	Offset int64  // committed
	Beyond []Span // acknowledged above it, ascending
}

// maxBeyond bounds the spans that are kept of what is acknowledged above the
// committed offset; after a restart what is not kept is delivered again.
const maxBeyond = 1000

// A Journal makes a state durable. It calls done once when it is, or with the
// reason why it may not be; in a goroutine of its own, for done hands the next
// state to the Journal.
type Journal func(k Key, s State, done func(error))

// Groups are all groups of a broker.
type Groups struct {
	journal Journal
	order   sync.RWMutex // held, shared, from taking a state until the journal has it

	mu        sync.Mutex // guards what follows
	positions map[Key]*Position
}

// New has no groups yet.
func New(j Journal) *Groups {
	return &Groups{journal: j, positions: make(map[Key]*Position)}
}

// Load sets a position to what the journal has kept of it. It is for the start,
// before anything else is called.
func (g *Groups) Load(k Key, s State) {
	p := &Position{key: k, groups: g, committed: s.Offset}
	for _, span := range s.Beyond {
		p.held = append(p.held, held{Span: span})
	}
	p.advance()
	g.positions[k] = p
}

// Position is the one that k names, until Close. A new one begins at offset 0
// and is forgotten again if nothing is acknowledged.
func (g *Groups) Position(k Key) *Position {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.positions[k]
	if p == nil {
		p = &Position{key: k, groups: g}
		g.positions[k] = p
	}
	p.users++
	return p
}

// Close says that a caller of Groups.Position has no more to do with it.
func (p *Position) Close() {
	p.groups.mu.Lock()
	defer p.groups.mu.Unlock()
	p.users--
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 && p.committed == 0 && len(p.held) == 0 {
		delete(p.groups.positions, p.key)
	}
}

// Committed is the committed offset of the position that k names, 0 if there is
// none.
func (g *Groups) Committed(k Key) int64 {
	g.mu.Lock()
	p := g.positions[k]
	g.mu.Unlock()
	if p == nil {
		return 0
	}
	return p.Committed()
}

// States calls f with each position that has moved, in no order, and then calls
// then. No state is handed to the journal meanwhile.
func (g *Groups) States(f func(Key, State), then func()) {
	g.order.Lock()
	defer g.order.Unlock()
	g.eachState(f)
	then()
}

func (g *Groups) eachState(f func(Key, State)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, p := range g.positions {
		p.mu.Lock()
		s := p.state()
		p.mu.Unlock()
		if s.Offset > 0 || len(s.Beyond) > 0 {
			f(k, s)
		}
	}
}
