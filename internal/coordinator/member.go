package coordinator

import (
	"bytes"
	"crypto/rand"
	"slices"
	"strings"
	"time"
)

// A Protocol is one way to assign the partitions that a member supports, and its metadata for
// the leader.
type Protocol struct {
	Name     string
	Metadata []byte
}

// A member is one consumer of a group. It may wait for the responses to a join and to a sync
// at the same time, if its client has given up the first.
type member struct {
	id       string
	instance string // "" for a dynamic member
	client   string
	host     string

	session   time.Duration
	rebalance time.Duration
	protocols []Protocol // in the order of the member's preference
	size      int64      // memory in bytes that it was charged for

	assignment []byte
	join       func(JoinReply) // nil if no join waits
	sync       func(SyncReply)
	synced     bool // has asked for its assignment in this generation
	isNew      bool // does not know a generation yet

	deadline time.Time // end of its session
	alarmAt  time.Time // when the alarm goes off, not after deadline
	alarm    *alarm
}

func newMember(r *JoinRequest) *member {
	return &member{id: r.Member, instance: r.Instance, isNew: true}
}

// set sets the member's data from its request.
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

// offersProtocol reports whether a protocol is among the member's.
func (m *member) offersProtocol(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == name })
}

// metadata is the member's metadata for a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// sameProtocols reports whether the member has joined with the same protocols.
func (m *member) sameProtocols(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// maxClient is the longest client id that becomes part of a member id, in bytes.
const maxClient = 255

// newMemberID is like Kafka's: the client's name and a random text that cannot be guessed.
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

// touch extends the member's session: each of its requests does.
func (g *group) touch(m *member) {
	wait := m.session
	if m.isNew && m.join != nil {
		wait = newMemberTime
	}
	m.deadline = g.c.clock.Now().Add(wait)
	if m.alarm == nil || m.alarmAt.After(m.deadline) {
		g.arm(m)
	}
}

// arm sets the alarm. A heartbeat does not move it: when it goes off, expire compares with
// the deadline.
func (g *group) arm(m *member) {
	m.alarm.stop()
	m.alarmAt = m.deadline
	m.alarm = g.c.after(m.deadline.Sub(g.c.clock.Now()), func() { g.expire(m) })
}

// expire removes a member that has sent nothing for a session timeout. A member that waits
// for a response does not expire, because its client sends nothing until then.
func (g *group) expire(m *member) {
	now := g.c.clock.Now()
	if !m.isNew && (m.join != nil || m.sync != nil) {
		m.deadline = now.Add(m.session)
	}
	if now.Before(m.deadline) {
		g.arm(m)
		return
	}
	g.c.log.Info("member is silent", "group", g.name, "member", m.id, "client", m.client, "host", m.host, "timeout", m.session)
	g.remove(m, ErrUnknownMember)
}
