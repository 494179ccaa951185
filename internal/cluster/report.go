package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Peer is what the engine knows of a node's replicas.
type Peer struct {
	Node    int32
	Current bool   // it has all that is acknowledged
	Lag     uint64 // entries that it lacks, as far as is known
	Streams int    // replicas that it is to have
	Leads   int    // of these
}

// A Report is what a node knows of the cluster at one time.
type Report struct {
	Owner    int32        `json:"owner"` // 0 if no node owns the topics
	Epoch    uint64       `json:"epoch"` // of the owner's takeover
	Replicas int          `json:"replicas"`
	Nodes    []NodeReport `json:"nodes"`         // by number
	Paused   float64      `json:"pausedSeconds"` // for which this node has known no owner, since its start
	Problems []string     `json:"problems"`      // sentences; none if there is an owner and all replicas are current
}

// A NodeReport is what is known of one node.
type NodeReport struct {
	Node    int32             `json:"node"`
	State   string            `json:"state"` // Up, Behind, Gone or Joining
	Version string            `json:"version"`
	Ports   map[string]string `json:"ports,omitempty"`
	Streams int               `json:"streams"` // replicas that it is to have
	Leads   int               `json:"leads"`   // of these
	Lag     uint64            `json:"lag"`     // entries that it lacks
	Free    int64             `json:"free"`    // bytes
	Size    int64             `json:"size"`    // bytes of that disk
	Ahead   int64             `json:"aheadMilliseconds"`
	Seen    *time.Time        `json:"seen,omitempty"` // its last heartbeat; nil if there was none since the start of the node that says so
}

// Joining is the state of a node that lives, and that the engine does not count yet.
const Joining = "joining"

// Report tells of all nodes, and what is wrong. peers asks the engine; replicas is how many each message has.
func (n *Node) Report(ctx context.Context, replicas int, peers func(context.Context) ([]Peer, error)) Report {
	r := Report{Replicas: replicas, Paused: n.pause.sum(time.Now()).Seconds(), Problems: []string{}}
	if owner, ok := n.Owner(); ok {
		r.Owner, r.Epoch = owner.Node, owner.Owns
	} else {
		r.problem("no node owns the topics")
	}
	known, err := peers(ctx)
	if err != nil {
		r.problem("it is not known whether the replicas are current: %v", err)
	}
	r.Nodes = mergeNodes(n.Nodes(), known, err == nil)
	for _, of := range r.Nodes {
		switch of.State {
		case Gone:
			r.problem("node %d is gone", of.Node)
		case Behind:
			r.problem("node %d is behind by %d entries", of.Node, of.Lag)
		case Joining:
			r.problem("node %d has not joined yet", of.Node)
		}
	}
	switch there, wanted := r.count(); {
	case err != nil:
	case len(known) < replicas:
		r.problem("there are %d nodes, and each message is to be on %d", len(known), replicas)
	case there < wanted:
		r.problem("%d of %d replicas of streams are not made yet", wanted-there, wanted)
	}
	return r
}

// count counts the replicas of streams, and how many there are to be: a node that has replaced another one has none at
// first. Each stream has one leader.
func (r *Report) count() (there, wanted int) {
	for _, of := range r.Nodes {
		there, wanted = there+of.Streams, wanted+of.Leads*r.Replicas
	}
	return there, wanted
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// mergeNodes joins what heartbeats and what the engine say of the nodes. A node that the engine does not count is gone for good
// when it says nothing any more, and is left out.
func mergeNodes(states []State, peers []Peer, asked bool) (all []NodeReport) {
	for _, s := range states {
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.Node == s.Node })
		of := NodeReport{
			Node: s.Node, State: s.State, Version: s.Version, Ports: s.Ports, Free: s.Free, Size: s.Size,
			Ahead: s.Ahead.Milliseconds(), Seen: timeOrNil(s.Seen),
		}
		switch {
		case i >= 0:
			of.count(peers[i])
		case asked && s.State == Gone:
			continue
		case asked:
			of.State = Joining
		}
		all = append(all, of)
	}
	for _, p := range peers {
		if !slices.ContainsFunc(states, func(s State) bool { return s.Node == p.Node }) {
			of := NodeReport{Node: p.Node, State: Gone}
			of.count(p)
			all = append(all, of)
		}
	}
	slices.SortFunc(all, func(a, b NodeReport) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

// count notes what the engine says.
func (of *NodeReport) count(p Peer) {
	of.Streams, of.Leads, of.Lag = p.Streams, p.Leads, p.Lag
	if of.State == Up && !p.Current {
		of.State = Behind
	}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Errors of CanRemove. Test with errors.Is.
var (
	ErrNoNode = errors.New("there is no such node")
	ErrNotNow = errors.New("the node can't be removed now")
)

// CanRemove says why a node can't be removed; nil if it can. It must be gone, and the others must be able to go on without it, with as many
// replicas as each message is to have.
func (r *Report) CanRemove(node int32) error {
	state, others, current := "", 0, 0
	for _, of := range r.Nodes {
		switch {
		case of.Node == node:
			state = of.State
		case of.State == Up:
			others, current = others+1, current+1
		case of.State != Joining:
			others++
		}
	}
	switch {
	case state == "":
		return fmt.Errorf("%w: %d", ErrNoNode, node)
	case state != Gone:
		return fmt.Errorf("%w: node %d is %s, stop it first", ErrNotNow, node, state)
	case r.Owner == 0:
		return fmt.Errorf("%w: no node owns the topics", ErrNotNow)
	case current < r.Replicas:
		return fmt.Errorf("%w: of the others %d are up and current, and each message is on %d; start the node that replaces it first, with a new number and an empty directory", ErrNotNow, current, r.Replicas)
	case 2*current <= others:
		return fmt.Errorf("%w: of the %d others only %d are up and current", ErrNotNow, others, current)
	}
	return nil
}
