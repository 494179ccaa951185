package coordinator

import (
	"slices"
	"time"
)

// noGeneration is Kafka's number for no generation.
const noGeneration = -1

// A JoinRequest asks to become, or to remain, a member of a group.
type JoinRequest struct {
	Group        string
	Member       string // from an earlier reply; "" for a new member
	Instance     string // of a static member; "" for a dynamic one
	Client, Host string // for descriptions, and for the member's id

	Session   time.Duration // session timeout
	Rebalance time.Duration // rebalance timeout; 0 for Session

	ProtocolType string // the same for all members
	Protocols    []Protocol

	RequireID bool // a new dynamic member gets its id first, and joins again (KIP-394)
	MaySkip   bool // knows JoinReply.SkipAssignment (KIP-814)
}

// size is the memory of a member with this request, in bytes.
func (r *JoinRequest) size() int64 {
	n := memberCost + len(r.Client) + len(r.Host) + len(r.Instance)
	for _, p := range r.Protocols {
		n += protocolCost + len(p.Name) + len(p.Metadata)
	}
	return int64(n)
}

// A JoinReply is the new generation for a member. Its slices must not be changed.
type JoinReply struct {
	Err                    error
	Member                 string // its id
	Generation             int32
	ProtocolType, Protocol string
	Leader                 string
	Members                []Joined // for the leader only: the members to assign partitions to
	SkipAssignment         bool     // the leader must not assign (KIP-814)
}

// Joined is a member as its leader sees it.
type Joined struct {
	Member, Instance string
	Metadata         []byte // for the chosen protocol
}

// Join calls reply once: when all members have joined, or at once on an error. The errors are
// ErrMemberIDRequired, ErrUnknownMember, ErrFenced, ErrProtocol, ErrSessionTimeout,
// ErrGroupName, ErrFull, ErrTooManyGroups, ErrClosed and those of Acquire; ErrRebalance if
// the same member joins a second time meanwhile.
func (c *Coordinator) Join(r JoinRequest, reply func(JoinReply)) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.join(&r, reply); err != nil {
		c.replies = append(c.replies, func() {
			reply(JoinReply{Err: err, Member: r.Member, Generation: noGeneration})
		})
	}
}

// join sets r.Member if the member gets an id.
func (c *Coordinator) join(r *JoinRequest, reply func(JoinReply)) error {
	if err := c.checkJoin(r); err != nil {
		return err
	}
	find := c.find
	if r.Member == "" {
		find = c.findOrCreate
	}
	g, err := find(r.Group)
	if err == ErrUnknownGroup {
		return ErrUnknownMember
	}
	if err != nil {
		return err
	}
	defer g.releaseVacant()
	return g.join(r, reply)
}

func (c *Coordinator) checkJoin(r *JoinRequest) error {
	if err := checkName(r.Group); err != nil {
		return err
	}
	if r.Session < c.opts.Limits.MinSession || r.Session > c.opts.Limits.MaxSession {
		return ErrSessionTimeout
	}
	if r.ProtocolType == "" || len(r.Protocols) == 0 || len(r.Protocols) > maxProtocols {
		return ErrProtocol
	}
	for i, p := range r.Protocols {
		again := slices.ContainsFunc(r.Protocols[:i], func(q Protocol) bool { return q.Name == p.Name })
		if p.Name == "" || again {
			return ErrProtocol
		}
	}
	return nil
}

func (g *group) join(r *JoinRequest, reply func(JoinReply)) error {
	m := g.static[r.Instance]
	if r.Member != "" {
		m = g.byID[r.Member]
	}
	if !g.supports(r.ProtocolType, r.Protocols, m) {
		return ErrProtocol
	}
	_, invited := g.pending[r.Member]
	switch {
	case r.Member != "" && !invited:
		return g.rejoin(r, reply)
	case invited && r.Instance != "": // only dynamic members get ids
		return ErrUnknownMember
	case invited:
		g.removePending(r.Member)
	case m != nil:
		return g.replace(m, r, reply)
	default:
		r.Member = newMemberID(r)
		if r.RequireID && r.Instance == "" {
			if err := g.addPending(r.Member, r.Session); err != nil {
				return err
			}
			return ErrMemberIDRequired
		}
	}
	if err := g.add(newMember(r), r, reply); err != nil {
		g.tryComplete() // the group may have waited for this member only
		return err
	}
	g.rebalance("a member has joined")
	return nil
}

// rebalance starts a rebalance, unless there is one.
func (g *group) rebalance(reason string) {
	if g.state == PreparingRebalance {
		g.tryComplete()
		return
	}
	g.prepare(reason)
}

// rejoin is the join of a member of the group. If its protocols are the same it has missed
// the response, and there is no rebalance; a join of the leader always is a request for one.
func (g *group) rejoin(r *JoinRequest, reply func(JoinReply)) error {
	m, err := g.validate(r.Member, r.Instance)
	if err != nil {
		return err
	}
	same := m.sameProtocols(r.Protocols)
	if err := g.update(m, r, reply); err != nil {
		return err
	}
	if same && (g.state == CompletingRebalance || g.state == Stable && m != g.leader) {
		g.replyJoin(m, g.joinReply(m))
		return nil
	}
	g.rebalance("a member joins again")
	return nil
}

// replace replaces a static member by one with the same instance id, and fences the former
// one. With the same subscription nothing else changes.
func (g *group) replace(m *member, r *JoinRequest, reply func(JoinReply)) error {
	before, old := m.protocols, m.id
	g.replyJoin(m, JoinReply{Err: ErrFenced})
	g.replySync(m, SyncReply{Err: ErrFenced})
	if err := g.update(m, r, reply); err != nil {
		return err
	}
	m.isNew = true
	g.touch(m)
	delete(g.byID, old)
	m.id = newMemberID(r)
	g.byID[m.id] = m
	if g.state == Stable && sameTopics(g.protocolType, before, m.protocols) {
		g.replyReplaced(m, old, r.MaySkip)
		return nil
	}
	g.rebalance("a static member has come back with another subscription, or in a rebalance")
	return nil
}

// replyReplaced sends a static member the current generation. A leader must not assign again:
// its reply says so or, for clients without KIP-814, says that its former member id leads.
func (g *group) replyReplaced(m *member, old string, maySkip bool) {
	m.isNew = false
	reply := g.joinReply(m)
	switch {
	case g.leader != m:
	case maySkip:
		reply.SkipAssignment = true
	default:
		reply.Leader, reply.Members = old, nil
	}
	g.replyJoin(m, reply)
}

func (g *group) joinReply(m *member) JoinReply {
	r := JoinReply{Member: m.id, Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader.id}
	if m == g.leader {
		r.Members = make([]Joined, len(g.members))
		for i, m := range g.members {
			r.Members[i] = Joined{m.id, m.instance, m.metadata(g.protocol)}
		}
	}
	return r
}
