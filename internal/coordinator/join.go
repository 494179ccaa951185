package coordinator

import (
	"slices"
	"time"
)

// noGeneration is what Kafka says where there is none.
const noGeneration = -1

// A JoinRequest asks to become, or to remain, a member of a group.
type JoinRequest struct {
	Group        string
	Member       string // as given by an earlier reply; "" for a new member
	Instance     string // of a static member; "" for a dynamic one
	Client, Host string // for people, and for the member's id

	Session   time.Duration // silence after which the member is removed
	Rebalance time.Duration // that it needs to join again; 0 for Session

	Kind      string // Kafka's protocol type, the same for all members
	Protocols []Protocol

	RequireID bool // a new dynamic member gets its id first, and joins again (KIP-394)
	MaySkip   bool // knows JoinReply.SkipAssignment (KIP-814)
}

// size is what a member with this request takes in memory, in bytes.
func (r *JoinRequest) size() int64 {
	n := memberCost + len(r.Client) + len(r.Host) + len(r.Instance)
	for _, p := range r.Protocols {
		n += protocolCost + len(p.Name) + len(p.Metadata)
	}
	return int64(n)
}

// A JoinReply tells a member of a new generation. Its slices must not be
// changed.
type JoinReply struct {
	Err            error
	Member         string // its id
	Generation     int32
	Kind, Protocol string
	Leader         string
	Members        []Joined // for the leader only: whom it assigns partitions to
	SkipAssignment bool     // the leader has nothing to assign, and knows it
}

// Joined is what the leader is told of a member.
type Joined struct {
	Member, Instance string
	Metadata         []byte // for the chosen protocol
}

// Join calls reply once: when all members have joined, or at once on an error.
// The errors are ErrMemberIDRequired, ErrUnknownMember, ErrFenced, ErrProtocol,
// ErrSessionTimeout, ErrGroupName, ErrFull, ErrTooManyGroups, ErrClosed and the
// Claim's; ErrRebalance if the same member joins a second time meanwhile.
func (c *Coordinator) Join(r JoinRequest, reply func(JoinReply)) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.join(&r, reply); err != nil {
		c.answers = append(c.answers, func() {
			reply(JoinReply{Err: err, Member: r.Member, Generation: noGeneration})
		})
	}
}

// join sets r.Member if that is given out.
func (c *Coordinator) join(r *JoinRequest, reply func(JoinReply)) error {
	if err := c.checkJoin(r); err != nil {
		return err
	}
	find := c.find
	if r.Member == "" {
		find = c.findOrMake
	}
	g, err := find(r.Group)
	if err == ErrUnknownGroup {
		return ErrUnknownMember
	}
	if err != nil {
		return err
	}
	defer g.settle()
	return g.join(r, reply)
}

func (c *Coordinator) checkJoin(r *JoinRequest) error {
	if err := checkName(r.Group); err != nil {
		return err
	}
	if r.Session < c.opts.Limits.MinSession || r.Session > c.opts.Limits.MaxSession {
		return ErrSessionTimeout
	}
	if r.Kind == "" || len(r.Protocols) == 0 || len(r.Protocols) > maxProtocols {
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
	if !g.supports(r.Kind, r.Protocols, m) {
		return ErrProtocol
	}
	_, invited := g.invited[r.Member]
	switch {
	case r.Member != "" && !invited:
		return g.rejoin(r, reply)
	case invited && r.Instance != "": // ids are given to dynamic members only
		return ErrUnknownMember
	case invited:
		g.uninvite(r.Member)
	case m != nil:
		return g.replace(m, r, reply)
	default:
		r.Member = newMemberID(r)
		if r.RequireID && r.Instance == "" {
			if err := g.invite(r.Member, r.Session); err != nil {
				return err
			}
			return ErrMemberIDRequired
		}
	}
	if err := g.add(newMember(r), r, reply); err != nil {
		g.tryComplete() // perhaps only the invited member was waited for
		return err
	}
	g.rebalance("a member has joined")
	return nil
}

// rebalance begins one, unless one has begun.
func (g *group) rebalance(reason string) {
	if g.state == PreparingRebalance {
		g.tryComplete()
		return
	}
	g.prepare(reason)
}

// rejoin is for a member that is in the group. What it joins with again without
// a change, because it has missed the answer, begins no rebalance; what the
// leader does, always: that is how it asks for one.
func (g *group) rejoin(r *JoinRequest, reply func(JoinReply)) error {
	m, err := g.validate(r.Member, r.Instance)
	if err != nil {
		return err
	}
	same := m.offers(r.Protocols)
	if err := g.update(m, r, reply); err != nil {
		return err
	}
	if same && (g.state == CompletingRebalance || g.state == Stable && m != g.leader) {
		g.answerJoin(m, g.joinReply(m))
		return nil
	}
	g.rebalance("a member joins again")
	return nil
}

// replace gives a static member's place to one with the same instance id. Who
// had it is fenced off. With the same subscription nothing else changes.
func (g *group) replace(m *member, r *JoinRequest, reply func(JoinReply)) error {
	before, old := m.protocols, m.id
	g.answerJoin(m, JoinReply{Err: ErrFenced})
	g.answerSync(m, SyncReply{Err: ErrFenced})
	if err := g.update(m, r, reply); err != nil {
		return err
	}
	m.fresh = true
	g.touch(m)
	delete(g.byID, old)
	m.id = newMemberID(r)
	g.byID[m.id] = m
	if g.state == Stable && sameTopics(g.kind, before, m.protocols) {
		g.answerReplaced(m, old, r.MaySkip)
		return nil
	}
	g.rebalance("a static member has come back with another subscription, or in a rebalance")
	return nil
}

// answerReplaced tells a static member of the generation there is. If it leads,
// it must not assign anew: it is told so or, where it does not know the word,
// that its own former self leads.
func (g *group) answerReplaced(m *member, old string, maySkip bool) {
	m.fresh = false
	reply := g.joinReply(m)
	switch {
	case g.leader != m:
	case maySkip:
		reply.SkipAssignment = true
	default:
		reply.Leader, reply.Members = old, nil
	}
	g.answerJoin(m, reply)
}

func (g *group) joinReply(m *member) JoinReply {
	r := JoinReply{Member: m.id, Generation: g.generation, Kind: g.kind, Protocol: g.protocol, Leader: g.leader.id}
	if m == g.leader {
		r.Members = make([]Joined, len(g.members))
		for i, m := range g.members {
			r.Members[i] = Joined{m.id, m.instance, m.metadata(g.protocol)}
		}
	}
	return r
}
