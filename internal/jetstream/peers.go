package jetstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A Peer is a node of the cluster.
type Peer struct {
	Node    int32
	Up      bool   // it answers now
	Current bool   // it is up, and its replicas have all messages
	Lag     uint64 // messages that its replicas lack, as far as that is known
	Streams int    // of which it has a replica
	Leads   int    // of these, those that it leads
}

// ErrNoLeader is the error where most nodes are down.
var ErrNoLeader = errors.New("the nodes have no leader: most of them are down, or can't reach each other")

// Peers gives all nodes of the cluster, those that are down too, by number. It asks each node.
func (e *Engine) Peers(ctx context.Context) ([]Peer, error) {
	known, err := e.identities(ctx)
	if err != nil {
		return nil, err
	}
	c := e.census(known)
	if len(c.peers) == 0 && len(e.o.Peers) > 0 {
		return nil, ErrNoLeader
	}
	var all []Peer
	for _, node := range slices.Sorted(maps.Keys(known)) {
		if p, member := c.peer(node, known[node]); member || len(e.o.Peers) == 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return cmp.Compare(a.Node, b.Node) })
	return all, nil
}

// A census is what the nodes have said of themselves.
type census struct {
	answers map[int32]hello
	peers   map[string]peer // by identity, as their leader sees them
	behind  map[string]uint64
}

// census asks all nodes, and waits for those that are known.
func (e *Engine) census(known map[int32]string) census {
	c := census{make(map[int32]hello), make(map[string]peer), make(map[string]uint64)}
	e.askNodes(helloTime, func(answers []hello) (enough bool) {
		a := answers[len(answers)-1]
		c.answers[a.Node] = a
		for _, p := range a.Peers {
			c.peers[p.Peer] = p
		}
		for p, lag := range a.Behind {
			c.behind[p] += lag
		}
		for node := range known {
			if _, ok := c.answers[node]; !ok {
				return false
			}
		}
		return true
	})
	return c
}

// peer gives what is known of a node, and whether it is a member of the cluster.
func (c *census) peer(node int32, identity string) (p Peer, member bool) {
	a, up := c.answers[node]
	seen, member := c.peers[identity]
	lag, behind := c.behind[identity]
	p = Peer{Node: node, Up: up, Lag: lag, Streams: a.Streams, Leads: a.Leads}
	p.Current = up && (seen.Current || !member) && !behind && a.Orphans == 0
	return p, member
}

// identities gives the identities in Raft of all nodes that have been members, and have not been removed.
func (e *Engine) identities(ctx context.Context) (map[int32]string, error) {
	values, err := e.Values(ctx, enginePrefix)
	if err != nil {
		return nil, err
	}
	known := make(map[int32]string)
	for _, v := range values {
		var entry engineEntry
		node, err := strconv.ParseInt(strings.TrimPrefix(v.Key, enginePrefix), 10, 32)
		if err != nil || json.Unmarshal(v.Data, &entry) != nil {
			return nil, fmt.Errorf("entry %q of the catalog can't be read", v.Key)
		}
		if entry.Peer != "" {
			known[int32(node)] = entry.Peer
		}
	}
	return known, nil
}

// Remove removes a node for good that is gone. Its replicas are made again on other nodes, if there are
// enough. Its number can't be used again.
func (e *Engine) Remove(ctx context.Context, node int32) error {
	if node == e.o.Node {
		return fmt.Errorf("node %d can't remove itself: ask another node", node)
	}
	known, err := e.identities(ctx)
	if err != nil {
		return err
	}
	identity, ok := known[node]
	if !ok {
		return fmt.Errorf("node %d is not known", node)
	}
	c := e.census(known)
	if _, up := c.answers[node]; up || c.peers[identity].Alive {
		return fmt.Errorf("node %d is up, or was some seconds ago: stop it, and wait until it is gone", node)
	}
	if len(c.peers) == 0 {
		return ErrNoLeader
	}
	// The number is barred first, so that the node can't come back in between.
	if err := e.entry(ctx, removedKeys+strconv.Itoa(int(node)), struct{}{}, new(struct{})); err != nil {
		return err
	}
	var a server.JSApiMetaServerRemoveResponse
	r := server.JSApiMetaServerRemoveRequest{Server: nodeName(node), Peer: identity}
	err = e.apiOn(ctx, e.system, server.JSApiRemoveServer, r, &a, &a.ApiResponse, makeTime)
	if err != nil && !isCode(err, codeNotMember) {
		return fmt.Errorf("node %d can't be removed: %w", node, err)
	}
	return e.forget(ctx, node)
}

// forget takes the identity of a node out of the catalog.
func (e *Engine) forget(ctx context.Context, node int32) error {
	key := enginePrefix + strconv.Itoa(int(node))
	for {
		v, err := e.Value(ctx, key)
		if err != nil {
			return err
		}
		if _, err = e.SetValue(ctx, key, []byte("{}"), v.Revision); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// StepDown has another node lead the internal logs, so that it owns all topics: the node given, or for 0
// that one which lags least. It does nothing if this node does not lead. It returns when another one does.
func (e *Engine) StepDown(ctx context.Context, to int32) error {
	if !e.leads(shardStream) {
		return nil
	}
	i, err := e.streamInfo(ctx, shardStream)
	if err != nil {
		return err
	}
	name, err := heir(i.Cluster, to)
	if err != nil || i.Cluster.Leader == name {
		return err
	}
	var a server.JSApiStreamLeaderStepDownResponse
	r := server.JSApiLeaderStepdownRequest{Placement: &server.Placement{Preferred: name}}
	if err := e.api(ctx, fmt.Sprintf(server.JSApiStreamLeaderStepDownT, shardStream), r, &a, &a.ApiResponse, time.Second); err != nil {
		return fmt.Errorf("%q can't be made to lead: %w", name, err)
	}
	for e.leads(shardStream) {
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// heir gives the name of the replica that is to lead next.
func heir(c *server.ClusterInfo, to int32) (string, error) {
	if c == nil {
		return "", errors.New("there is no other node")
	}
	var best *server.PeerInfo
	for _, r := range c.Replicas {
		if !r.Current || r.Offline || to != 0 && r.Name != nodeName(to) {
			continue
		}
		if best == nil || r.Lag < best.Lag {
			best = r
		}
	}
	switch {
	case to != 0 && c.Leader == nodeName(to):
		return c.Leader, nil
	case best == nil && to != 0:
		return "", fmt.Errorf("node %d has no replica of the internal logs, or it lags", to)
	case best == nil:
		return "", errors.New("all other replicas of the internal logs are down, or lag")
	}
	return best.Name, nil
}
