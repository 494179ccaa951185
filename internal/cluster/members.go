package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Times of the roll.
const (
	beatEvery = 500 * time.Millisecond
	goneAfter = 3 * time.Second // without a heartbeat; a pause of the garbage collector or of a disk is shorter
	maxSkew   = 5 * time.Second // between two nodes' clocks
)

// beatSubject is that of all heartbeats.
const beatSubject = "mb.beat"

// A Bus carries messages between the nodes, which may get lost.
type Bus interface {
	Send(subject string, data []byte) error
	Subscribe(subject string, f func(data []byte)) (stop func(), err error)
}

// A Member is what a node says of itself in its heartbeats.
type Member struct {
	Node    int32             `json:"node"`
	Start   string            `json:"start"`             // random, of this run
	Ports   map[string]string `json:"ports"`             // host:port for clients of each protocol, and of PortLinks
	Version string            `json:"version"`           // of the program
	Owns    uint64            `json:"owns,omitempty"`    // the epoch of the takeover; 0 if it does not own the topics
	Free    int64             `json:"free"`              // bytes for its data
	Size    int64             `json:"size"`              // of that disk; 0 if neither is known
	Clock   int64             `json:"clock"`             // milliseconds since 1970
	Exposed bool              `json:"exposed,omitempty"` // clients of other machines reach it
	Open    bool              `json:"open,omitempty"`    // it owns the topics, and there are no users
	Leaves  bool              `json:"leaves,omitempty"`  // it stops now
}

// A roll knows the nodes that live, by their heartbeats. Any goroutine may call its methods.
type roll struct {
	bus  Bus
	self func() Member
	log  *slog.Logger
	meet chan struct{} // has an element when a node has come, which is to know of this one at once

	sending sync.Mutex

	mu      sync.Mutex // guards what follows
	nodes   map[int32]*known
	latest  uint64        // the highest epoch of a takeover
	taker   int32         // the node that has made it
	changed chan struct{} // closed, and replaced, when the owner or the nodes that live have changed
}

// known is what the roll knows of a node.
type known struct {
	Member
	seen   time.Time
	live   bool
	ahead  time.Duration // its clock, against this node's; what it took the heartbeat to come counts as behind
	skewed time.Time     // since when its clock is wrong, or this node's; zero if they agree
	warned bool
}

func newRoll(bus Bus, self func() Member, log *slog.Logger) *roll {
	return &roll{bus: bus, self: self, log: log, meet: make(chan struct{}, 1), nodes: make(map[int32]*known), changed: make(chan struct{})}
}

// open begins to receive heartbeats, until close.
func (r *roll) open() (close func(), err error) { return r.bus.Subscribe(beatSubject, r.receive) }

// run sends heartbeats until ctx ends. The last one says that this node leaves.
func (r *roll) run(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		r.beat()
		r.expire()
		select {
		case <-ctx.Done():
			r.send(true)
			return
		case <-ticker.C:
		case <-r.meet:
		}
	}
}

// beat tells all nodes, this one too, what this one is now. It is called at once when that has changed.
func (r *roll) beat() { r.send(false) }

// send sends one heartbeat at a time, so that no older one follows a newer.
func (r *roll) send(leaves bool) {
	r.sending.Lock()
	defer r.sending.Unlock()
	m := r.self()
	m.Leaves = leaves
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // it has plain fields only
	}
	r.enter(m, time.Now()) // of itself a node knows without the network
	if err := r.bus.Send(beatSubject, data); err != nil {
		r.log.Debug("a heartbeat could not be sent", "reason", err)
	}
}

// receive takes a heartbeat of any node.
func (r *roll) receive(data []byte) {
	var m Member
	if err := json.Unmarshal(data, &m); err != nil {
		r.log.Debug("a heartbeat can't be read", "reason", err) // of a version to come
		return
	}
	if m.Node != r.self().Node {
		r.enter(m, time.Now())
	}
}

// enter notes what a node has said.
func (r *roll) enter(m Member, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.nodes[m.Node]
	if k == nil {
		k = new(known)
		r.nodes[m.Node] = k
	}
	before := *k
	k.Member, k.seen, k.live = m, now, !m.Leaves
	if m.Owns > r.latest {
		r.latest, r.taker = m.Owns, m.Node
	}
	if k.live != before.live || k.Owns != before.Owns || k.Start != before.Start || !maps.Equal(k.Ports, before.Ports) {
		r.announce()
	}
	if k.live && !before.live {
		select {
		case r.meet <- struct{}{}:
		default:
		}
	}
	r.compare(k, now)
}

// expire counts nodes as gone that have said nothing for long.
func (r *roll) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.nodes {
		if k.live && time.Since(k.seen) >= goneAfter {
			k.live = false
			r.announce()
		}
	}
}

// announce wakes those who wait for a change. The caller holds mu.
func (r *roll) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// compare warns of a clock that differs by more than maxSkew, and has done so for goneAfter: heartbeats that come
// late, such as after a freeze of this node, look like that for a moment. The caller holds mu.
func (r *roll) compare(k *known, now time.Time) {
	k.ahead = time.UnixMilli(k.Clock).Sub(now)
	switch {
	case k.ahead.Abs() <= maxSkew:
		if k.warned {
			r.log.Info("the clocks of two nodes agree again", "node", k.Node)
		}
		k.skewed, k.warned = time.Time{}, false
	case k.skewed.IsZero():
		k.skewed = now
	case !k.warned && now.Sub(k.skewed) >= goneAfter:
		k.warned = true
		r.log.Warn("the clocks of two nodes differ: set them by NTP, because times of messages and delays go by the clock of the owner", "node", k.Node, "ahead of this node", k.ahead.Round(time.Second))
	}
}

// owner is the node that owns the topics, if it lives. A takeover makes all earlier ones void, whatever they say.
func (r *roll) owner() (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.nodes {
		if k.live && k.Owns != 0 && k.Owns == r.latest {
			return k.Member, true
		}
	}
	return Member{}, false
}

// await waits until there is an owner or ctx ends.
func (r *roll) await(ctx context.Context) (Member, bool) {
	for {
		changed := r.watch()
		if m, ok := r.owner(); ok {
			return m, true
		}
		select {
		case <-ctx.Done():
			return Member{}, false
		case <-changed:
		}
	}
}

// watch gives a channel that is closed when the owner, or the nodes that live, have changed.
func (r *roll) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// live are the nodes that live, by number.
func (r *roll) live() (all []Member) {
	for _, k := range r.all() {
		if k.live {
			all = append(all, k.Member)
		}
	}
	return all
}

// all are the nodes that have been known since the start, by number.
func (r *roll) all() (all []known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.nodes {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b known) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

// space is the least that is free on any node that lives, and the size of that disk. Both are 0 if no node knows.
func (r *roll) space() (free, size int64) {
	for _, m := range r.live() {
		if m.Size != 0 && (size == 0 || m.Free < free) {
			free, size = m.Free, m.Size
		}
	}
	return free, size
}

// last is the node that has taken the topics over last, as it was when it said something last. It may own them or not.
func (r *roll) last() Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.nodes[r.taker]; k != nil {
		return k.Member
	}
	return Member{}
}
