package coordinator

import "bytes"

// A SyncRequest asks for a member's assignment; the leader's has the assignments of all.
type SyncRequest struct {
	Group, Member, Instance string
	Generation              int32
	ProtocolType, Protocol  string // "" for the group's
	Assignments             []Assignment
}

// An Assignment is one member's assignment, in the format of the members' protocol.
type Assignment struct {
	Member string
	Bytes  []byte
}

// A SyncReply is a member's assignment. It must not be changed.
type SyncReply struct {
	Err                    error
	ProtocolType, Protocol string
	Assignment             []byte
}

// Sync calls reply once: when the leader has sent the assignments, or at once on an error.
// The errors are ErrUnknownMember, ErrFenced, ErrIllegalGeneration, ErrProtocol,
// ErrRebalance, ErrGroupName, ErrFull and ErrClosed.
func (c *Coordinator) Sync(r SyncRequest, reply func(SyncReply)) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.sync(&r, reply); err != nil {
		c.replies = append(c.replies, func() { reply(SyncReply{Err: err}) })
	}
}

func (c *Coordinator) sync(r *SyncRequest, reply func(SyncReply)) error {
	g, m, err := c.member(r.Group, r.Member, r.Instance, r.Generation)
	if err != nil {
		return err
	}
	if r.ProtocolType != "" && r.ProtocolType != g.protocolType || r.Protocol != "" && r.Protocol != g.protocol {
		return ErrProtocol
	}
	if g.state == PreparingRebalance {
		return ErrRebalance
	}
	if g.state == CompletingRebalance && m == g.leader {
		if err := g.distribute(r.Assignments); err != nil {
			return err
		}
	}
	g.replySync(m, SyncReply{Err: ErrRebalance}) // one that its client has given up
	m.sync, m.synced = reply, true
	g.touch(m)
	if g.state == Stable {
		g.replySyncs()
	}
	return nil
}

// distribute sets the members' assignments. A member without one gets an empty one. If one is
// too large for the memory, the group stays as it is.
func (g *group) distribute(assignments []Assignment) error {
	for _, a := range assignments {
		m := g.byID[a.Member]
		if m == nil {
			continue
		}
		if err := g.assign(m, bytes.Clone(a.Bytes)); err != nil {
			return err
		}
	}
	g.state = Stable
	g.c.log.Debug("group is stable", "group", g.name, "generation", g.generation, "members", len(g.members))
	return nil
}

func (g *group) assign(m *member, assignment []byte) error {
	grown := int64(len(assignment) - len(m.assignment))
	if err := g.c.charge(grown); err != nil {
		return err
	}
	m.size += grown
	m.assignment = assignment
	return nil
}

func (g *group) replySyncs() {
	for _, m := range g.members {
		g.replySync(m, SyncReply{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment})
	}
}
