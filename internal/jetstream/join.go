package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A node joins its cluster in two steps. First its server runs without streams, and the nodes ask each
// other what they know. Only when it is certain to which cluster this node belongs, its server is started
// again with streams, so that it votes. Otherwise nodes with empty directories could elect each other
// and make a new, empty cluster while one with the messages is down.

const (
	helloSubject    = "mb.hello"
	farewellSubject = "mb.farewell"
	helloTime       = 250 * time.Millisecond // for the answers of one round
)

// A hello is what a node says of itself to one that wants to join.
type hello struct {
	Node      int32   `json:"node"`
	Peer      string  `json:"peer"`              // its identity in Raft
	Cluster   string  `json:"cluster,omitempty"` // id; none: the node belongs to no cluster yet
	Candidate string  `json:"candidate"`         // an id for a new cluster
	Member    bool    `json:"member,omitempty"`  // the node may hold messages
	Peers     []peer  `json:"peers,omitempty"`   // all nodes, said by their leader only
	Removed   []int32 `json:"removed,omitempty"`
	load
}

// A load is the part of a hello about streams.
type load struct {
	Streams int               `json:"streams,omitempty"` // of which the node has a replica
	Leads   int               `json:"leads,omitempty"`   // streams that it leads
	Orphans int               `json:"orphans,omitempty"` // streams of which it knows no leader
	Behind  map[string]uint64 `json:"behind,omitempty"`  // by identity: how many messages a replica of what it leads lags; 0: unknown
}

// A peer is a node as the leader of all nodes sees it.
type peer struct {
	Peer    string `json:"peer"`
	Current bool   `json:"current"`
	Alive   bool   `json:"alive"` // its heartbeats have come until a moment ago
}

// A refusedError says why a node can't join, whatever the others do.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

func refused(format string, v ...any) error { return &refusedError{fmt.Sprintf(format, v...)} }

// A waiting says what a node waits for.
type waiting string

func (w waiting) Error() string { return "waiting " + string(w) }

// decide gives the id of the cluster that a node joins, of those that total nodes make: a waiting if the
// answers don't tell yet, a refusedError if they never will.
func decide(self hello, answers []hello, total int) (id string, err error) {
	others := make(map[int32]hello)
	for _, a := range answers {
		if a.Node != self.Node {
			others[a.Node] = a
		}
	}
	var members, known []hello
	for _, a := range others {
		switch {
		case slices.Contains(a.Removed, self.Node):
			return "", refused("node %d has been removed from the cluster: start it with a new number and an empty directory", self.Node)
		case a.Cluster == "":
			continue
		case self.Cluster != "" && a.Cluster != self.Cluster:
			return "", refused("the directory of node %d belongs to cluster %s, and node %d to cluster %s", self.Node, self.Cluster, a.Node, a.Cluster)
		case len(known) > 0 && a.Cluster != known[0].Cluster:
			return "", refused("node %d belongs to cluster %s, and node %d to cluster %s", a.Node, a.Cluster, known[0].Node, known[0].Cluster)
		}
		if known = append(known, a); a.Member {
			members = append(members, a)
		}
	}
	switch {
	case self.Cluster != "" && len(known) > 0:
		return self.Cluster, nil
	case self.Cluster != "":
		return "", waiting("for another node of the cluster")
	case len(members) > 0:
		return adopt(self, others, members)
	case len(others)+1 < total:
		return "", waiting(fmt.Sprintf("for %d of %d nodes: a new cluster needs all of them once", total-1-len(others), total))
	case len(known) > 0:
		return known[0].Cluster, nil
	}
	first := self
	for _, a := range others {
		if a.Node < first.Node {
			first = a
		}
	}
	return first.Candidate, nil
}

// adopt decides for a node with an empty directory, where there is a cluster that may hold messages. If
// the node has lost its directory, it must not vote while another one lags: both would be a majority
// that does not know the latest messages.
func adopt(self hello, others map[int32]hello, members []hello) (id string, err error) {
	i := slices.IndexFunc(members, func(a hello) bool { return len(a.Peers) > 0 })
	if i < 0 {
		return "", waiting("for the cluster, which has no leader: most of its nodes are down, or have lost their directories")
	}
	answered := make(map[string]bool)
	for _, a := range others {
		answered[a.Peer] = a.Cluster != ""
	}
	again := false // whether the cluster has had this node before
	for _, p := range members[i].Peers {
		if p.Peer == self.Peer {
			again = true
			if p.Alive {
				return "", waiting(fmt.Sprintf("for the end of another process that is node %d", self.Node))
			}
		}
	}
	if !again {
		return members[i].Cluster, nil
	}
	for _, p := range members[i].Peers {
		if p.Peer != self.Peer && (!p.Current || !answered[p.Peer]) {
			return "", waitingToComeBack("until all other nodes are up", self.Node)
		}
	}
	for _, a := range others {
		if a.Orphans > 0 {
			return "", waitingToComeBack("until all streams have leaders", self.Node)
		}
		for p := range a.Behind {
			if p != self.Peer {
				return "", waitingToComeBack("until no other node lags", self.Node)
			}
		}
	}
	return members[i].Cluster, nil
}

func waitingToComeBack(until string, node int32) error {
	return waiting(fmt.Sprintf("%s: node %d has lost its directory. If that takes too long, replace it by a node with a new number", until, node))
}

// A member knows whether this node has joined its cluster, and the cluster is ready.
type member struct {
	done chan struct{} // closed when that is decided

	mu      sync.Mutex
	ready   bool
	reason  error           // why this node has not joined yet, or never will
	removed []int32         // numbers of nodes that must not join again
	left    map[int32]hello // what nodes said that have joined since this one started
	twin    twin
}

// A twin is another process with this node's number. One that has just died looks like that for some seconds.
type twin struct{ first, last time.Time }

const (
	twinTime  = 10 * time.Second // after which a twin lives
	twinPause = 5 * time.Second  // between two attempts to connect to its cluster, and more
)

// see notes that the others say that they have a node of this number.
func (t *twin) see(now time.Time) {
	if now.Sub(t.last) > twinPause {
		t.first = now
	}
	t.last = now
}

// lives says whether there is a twin.
func (t *twin) lives(now time.Time) bool {
	return now.Sub(t.last) <= twinPause && t.last.Sub(t.first) >= twinTime
}

func (m *member) seeTwin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.twin.see(time.Now())
}

func (m *member) hasTwin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.twin.lives(time.Now())
}

func newMember() *member { return &member{done: make(chan struct{}), left: make(map[int32]hello)} }

// decided notes that the cluster is ready, or why it never will be for this node.
func (m *member) decided(refusal error) {
	m.mu.Lock()
	m.ready, m.reason = refusal == nil, refusal
	m.mu.Unlock()
	close(m.done)
}

// waits notes what this node waits for.
func (m *member) waits(reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reason = reason
}

func (m *member) leaves(h hello) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left[h.Node] = h
}

func (m *member) farewells() []hello {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.left))
}

func (m *member) isReady() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready
}

func (m *member) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reason
}

// leave notes that this node has been removed.
func (m *member) leave(reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready, m.reason = false, reason
}

func (m *member) remove(node int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.removed, node) {
		m.removed = append(m.removed, node)
	}
}

func (m *member) allRemoved() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.removed)
}

// join asks the other nodes until it is certain to which cluster this node belongs, and joins it.
func (e *Engine) join() error {
	var logged string
	for rounds := helloTime / 8; e.ctx.Err() == nil; rounds = min(2*rounds, helloTime) {
		var id string
		var member bool
		err := error(waiting("for other nodes"))
		e.askNodes(rounds, func(answers []hello) (enough bool) {
			self := e.hello()
			if self.Cluster != "" {
				answers = append(e.member.farewells(), answers...)
			}
			id, err = decide(self, answers, len(e.o.Peers))
			member = slices.ContainsFunc(answers, func(a hello) bool { return a.Member })
			return !isWaiting(err)
		})
		if err == nil {
			return e.enter(id, member)
		}
		if !isWaiting(err) {
			return err
		}
		if e.member.hasTwin() {
			return refused("node number %d is in use: another process has joined the cluster with it; choose another one, with an empty directory", e.o.Node)
		}
		e.member.waits(err)
		if rounds == helloTime && err.Error() != logged {
			logged = err.Error()
			e.log.Info("this node has not joined the cluster yet", "reason", err)
		}
		pause(e.ctx, rounds/4)
	}
	return ErrStopped
}

func isWaiting(err error) bool {
	var w waiting
	return errors.As(err, &w)
}

// enter starts the server with streams. Where others are members, this node may hold messages soon.
//
// The start may take long, and the others may wait for an answer of this node. So it says good-bye.
func (e *Engine) enter(id string, member bool) error {
	m := e.dir.get()
	if m.Cluster != id || member && !m.Member {
		m.Cluster, m.Member = id, m.Member || member
		if err := e.dir.keep(m); err != nil {
			return err
		}
	}
	if b, err := json.Marshal(e.hello()); err == nil {
		_ = e.calls.Publish(farewellSubject, b)
		_ = e.calls.FlushTimeout(helloTime)
	}
	e.log.Info("this node joins the cluster", "cluster", id)
	e.server.Load().stop()
	return e.startServer(true)
}

// askNodes asks all nodes once. It calls f with all answers so far, after each one, until that is enough or the
// time is over.
func (e *Engine) askNodes(patience time.Duration, f func([]hello) (enough bool)) {
	got := make(chan *nats.Msg, 64)
	inbox := e.calls.NewInbox()
	s, err := e.calls.ChanSubscribe(inbox, got)
	if err != nil {
		return
	}
	defer s.Unsubscribe() //nolint:errcheck // the connection may be closed
	if err := e.calls.PublishRequest(helloSubject, inbox, nil); err != nil {
		return
	}
	end := time.NewTimer(patience)
	defer end.Stop()
	for answers := []hello(nil); ; {
		select {
		case m := <-got:
			var a hello
			if json.Unmarshal(m.Data, &a) != nil || a.Node == 0 {
				continue // nobody answers, or another version
			}
			if answers = append(answers, a); f(answers) {
				return
			}
		case <-end.C:
			return
		case <-e.ctx.Done():
			return
		}
	}
}

// answerHello answers other nodes that want to join, until Stop.
func (e *Engine) answerHello() error {
	_, err := e.calls.Subscribe(farewellSubject, func(m *nats.Msg) {
		var h hello
		if json.Unmarshal(m.Data, &h) == nil {
			e.member.leaves(h)
		}
	})
	if err != nil {
		return err
	}
	_, err = e.calls.Subscribe(helloSubject, func(m *nats.Msg) {
		if b, err := json.Marshal(e.hello()); err == nil {
			_ = m.Respond(b) // the node asks again
		}
	})
	return err
}

// hello is what this node says of itself.
func (e *Engine) hello() hello {
	s := e.server.Load()
	m := e.dir.get()
	return hello{
		Node: e.o.Node, Peer: s.Node(), Cluster: m.Cluster, Candidate: m.Candidate, Member: m.Member,
		Peers: s.peers(), Removed: e.member.allRemoved(), load: s.load(),
	}
}
