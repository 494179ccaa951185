package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	clusterKey   = "cluster" // of the catalog: a clusterEntry
	enginePrefix = "engine." // and a node's number: an engineEntry
	removedKeys  = "removed."
)

// A clusterEntry is the same for the life of a cluster.
type clusterEntry struct {
	ID      string `json:"id"`
	Version int    `json:"version"` // of the catalog and of the messages
}

// An engineEntry is kept for each node that has been a member.
type engineEntry struct {
	Peer string `json:"peer"` // its identity in Raft
}

const catalogVersion = 1

// randomID is for a cluster.
func randomID() string { return strings.ToLower(rand.Text()) }

// Ready waits until this node has joined its cluster, and the streams of the catalog and of the internal
// logs answer. It fails at once if this node can't join.
func (e *Engine) Ready(ctx context.Context) error {
	select {
	case <-e.member.done:
		return e.member.why()
	case <-ctx.Done():
		return fmt.Errorf("the cluster is not ready: %w: %w", ctx.Err(), e.member.why())
	}
}

// run joins the cluster, makes it ready, and keeps it so until Stop.
func (e *Engine) run() {
	err := e.begin()
	if err != nil && e.ctx.Err() == nil {
		e.log.Error("this node can't join the cluster", "reason", err)
	}
	if e.member.decided(err); err != nil {
		return
	}
	stop, err := e.Watch(removedKeys, e.seeRemoved)
	if err != nil {
		return
	}
	defer stop()
	e.keepReplicas()
}

func (e *Engine) begin() error {
	if len(e.o.Peers) > 0 {
		if err := e.join(); err != nil {
			return err
		}
	}
	for {
		err := e.makeReady(e.ctx)
		var r *refusedError
		switch {
		case err == nil || errors.As(err, &r):
			return err
		case e.ctx.Err() != nil:
			return ErrStopped
		}
		e.member.waits(err)
		pause(e.ctx, 50*time.Millisecond)
	}
}

func (e *Engine) makeReady(ctx context.Context) error {
	for _, s := range []struct{ name, subjects string }{{metaStream, metaSubjects}, {shardStream, shardSubjects}} {
		_, err := e.streamInfo(ctx, s.name)
		if isCode(err, codeStreamNotFound) {
			err = e.makeInternal(ctx, s.name, s.subjects)
		}
		if err != nil {
			return err
		}
	}
	m := e.dir.get()
	if m.Cluster == "" { // a node alone
		m.Cluster = m.Candidate
	}
	found := clusterEntry{}
	if err := e.entry(ctx, clusterKey, clusterEntry{m.Cluster, catalogVersion}, &found); err != nil {
		return err
	}
	if found.ID != m.Cluster {
		return refused("the directory belongs to cluster %s, and the catalog to cluster %s", m.Cluster, found.ID)
	}
	if found.Version != catalogVersion {
		return refused("the cluster's version is %d, and this program knows %d", found.Version, catalogVersion)
	}
	if err := e.entry(ctx, fmt.Sprint(enginePrefix, e.o.Node), engineEntry{e.server.Load().Node()}, new(engineEntry)); err != nil {
		return err
	}
	if m.Member {
		return nil
	}
	m.Member = true
	return e.dir.keep(m)
}

// entry reads an entry of the catalog, which is made where there is none.
func (c *meta) entry(ctx context.Context, key string, first, found any) error {
	for {
		v, err := c.Value(ctx, key)
		if err != nil {
			return err
		}
		if v.Revision > 0 {
			return json.Unmarshal(v.Data, found)
		}
		data, err := json.Marshal(first)
		if err != nil {
			return err
		}
		if _, err := c.SetValue(ctx, key, data, 0); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// seeRemoved sees that a node has been removed.
func (e *Engine) seeRemoved(v Value) {
	node, err := strconv.ParseInt(strings.TrimPrefix(v.Key, removedKeys), 10, 32)
	if err != nil {
		return
	}
	if e.member.remove(int32(node)); int32(node) == e.o.Node {
		e.log.Error("this node has been removed from the cluster", "node", node)
		e.member.leave(refused("node %d has been removed from the cluster", node))
	}
}

// makeInternal makes the stream of the catalog or that of the internal logs.
func (e *Engine) makeInternal(ctx context.Context, name, subjects string) error {
	c := streamConfig(name, e.o.Replicas, subjects)
	if name == metaStream {
		c.MaxMsgsPer = 1 // only the last message of a key counts
	}
	return e.createStream(ctx, c)
}
