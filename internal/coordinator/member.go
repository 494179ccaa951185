package coordinator

import (
	"bytes"
	"crypto/rand"
	"slices"
	"strings"
	"time"
)

// A Protocol is one way to divide the partitions that a member can follow, and
// what it tells the leader for it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// A member is one consumer in a group. It may wait for the answer to a join and
// to a sync at the same time, if its client has given up on the first.
type member struct {
	id       string
	instance string // "" for a dynamic member
	client   string
	host     string

	session   time.Duration
	rebalance time.Duration
	protocols []Protocol // in the order of the member's preference
	size      int64      // bytes it was charged for

	assignment []byte
	join       func(JoinReply) // nil if it does not wait for one
	sync       func(SyncReply)
	synced     bool // has asked for its part in this generation
	fresh      bool // has not been told of a generation yet

	deadline time.Time // it is gone if nothing comes until then
	due      time.Time // when the alarm goes off, not after deadline
	alarm    *alarm
}

func newMember(r *JoinRequest) *member {
	return &member{id: r.Member, instance: r.Instance, fresh: true}
}

// set takes over what a member says of itself when it joins.
func (m *member) set(r *JoinRequest) {
	m.client, m.host = r.Client, r.Host
	m.session, m.rebalance = r.Session, min(r.Rebalance, maxRebalance)
	if m.rebalance <= 0 { // version 0 has none, and kafkajs sends 0
		m.rebalance = m.session
	}
	m.protocols = make([]Protocol, len(r.Protocols))
	for i, p := range r.Protocols {
		m.protocols[i] = Protocol{p.Name, bytes.Clone(p.Metadata)}
	}
}

// offersOne says whether a protocol is among the member's.
func (m *member) offersOne(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == name })
}

// metadata is what the member says for a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// offers says whether the member has joined with the same protocols.
func (m *member) offers(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// maxClient is the longest client id that becomes part of a member id, in bytes.
const maxClient = 255

// newMemberID is like Kafka's: what the client calls itself, and something that
// can't be guessed.
func newMemberID(r *JoinRequest) string {
	name := r.Client
	if r.Instance != "" {
		name = r.Instance
	}
	if name == "" || len(name) > maxClient {
		name = "member"
	}
	return name + "-" + strings.ToLower(rand.Text())
}

// touch says that the member is alive: all its requests do.
func (g *group) touch(m *member) {
	wait := m.session
	if m.fresh && m.join != nil {
		wait = newMemberTime
	}
	m.deadline = g.c.clock.Now().Add(wait)
	if m.alarm == nil || m.due.After(m.deadline) {
		g.arm(m)
	}
}

// arm sets the alarm anew. It is not moved by each heartbeat: when it goes off,
// expire looks whether the deadline has.
func (g *group) arm(m *member) {
	m.alarm.stop()
	m.due = m.deadline
	m.alarm = g.c.after(m.deadline.Sub(g.c.clock.Now()), func() { g.expire(m) })
}

// expire removes a member that has been silent. One that waits for an answer is
// not: its client has nothing to say until then.
func (g *group) expire(m *member) {
	now := g.c.clock.Now()
	if !m.fresh && (m.join != nil || m.sync != nil) {
		m.deadline = now.Add(m.session)
	}
	if now.Before(m.deadline) {
		g.arm(m)
		return
	}
	g.c.log.Info("member is silent", "group", g.name, "member", m.id, "client", m.client, "host", m.host, "timeout", m.session)
	g.remove(m, ErrUnknownMember)
}
