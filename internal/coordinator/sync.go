package coordinator

import "bytes"

// A SyncRequest asks for a member's part of the assignment; the leader's brings
// it.
type SyncRequest struct {
	Group, Member, Instance string
	Generation              int32
	Kind, Protocol          string // "" for whatever the group has
	Assignments             []Assignment
}

// An Assignment is one member's part, as the members' protocol writes it.
type Assignment struct {
	Member string
	Part   []byte
}

// A SyncReply is a member's part. It must not be changed.
type SyncReply struct {
	Err            error
	Kind, Protocol string
	Part           []byte
}

// Sync calls reply once: when the leader has handed in the assignment, or at
// once on an error. The errors are ErrUnknownMember, ErrFenced,
// ErrIllegalGeneration, ErrProtocol, ErrRebalance, ErrGroupName, ErrFull and
// ErrClosed.
func (c *Coordinator) Sync(r SyncRequest, reply func(SyncReply)) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.sync(&r, reply); err != nil {
		c.answers = append(c.answers, func() { reply(SyncReply{Err: err}) })
	}
}

func (c *Coordinator) sync(r *SyncRequest, reply func(SyncReply)) error {
	g, m, err := c.member(r.Group, r.Member, r.Instance, r.Generation)
	if err != nil {
		return err
	}
	if r.Kind != "" && r.Kind != g.kind || r.Protocol != "" && r.Protocol != g.protocol {
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
	g.answerSync(m, SyncReply{Err: ErrRebalance}) // one that it has given up
	m.sync, m.synced = reply, true
	g.touch(m)
	if g.state == Stable {
		g.answerSyncs()
	}
	return nil
}

// distribute gives each member its part; who is not named gets an empty one.
// With one that is too large for memory the group stays as it is.
func (g *group) distribute(parts []Assignment) error {
	for _, a := range parts {
		m := g.byID[a.Member]
		if m == nil {
			continue
		}
		if err := g.assign(m, bytes.Clone(a.Part)); err != nil {
			return err
		}
	}
	g.state = Stable
	g.c.log.Debug("group is stable", "group", g.name, "generation", g.generation, "members", len(g.members))
	return nil
}

func (g *group) assign(m *member, part []byte) error {
	grown := int64(len(part) - len(m.assignment))
	if err := g.c.charge(grown); err != nil {
		return err
	}
	m.size += grown
	m.assignment = part
	return nil
}

func (g *group) answerSyncs() {
	for _, m := range g.members {
		g.answerSync(m, SyncReply{Kind: g.kind, Protocol: g.protocol, Part: m.assignment})
	}
}
