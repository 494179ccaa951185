package coordinator

import (
	"slices"
	"time"
)

// A State is the state of a group. Its text is Kafka's.
type State string

// The states of a group. Dead is the state of an unknown group.
const (
	Empty               State = "Empty"
	PreparingRebalance  State = "PreparingRebalance"
	CompletingRebalance State = "CompletingRebalance"
	Stable              State = "Stable"
	Dead                State = "Dead"
)

// A group is one consumer group. All of it is guarded by the coordinator's lock.
type group struct {
	c            *Coordinator
	name         string
	state        State
	generation   int32
	protocolType string  // Kafka's protocol type: "consumer", "connect"; "" with no members
	protocol     string  // chosen for this generation; "" while there is none
	leader       *member // of this generation

	members []*member // in the order in which they joined
	byID    map[string]*member
	static  map[string]*member // by instance id
	pending map[string]*alarm  // ids that were returned and not used yet (KIP-394)
	support map[string]int     // number of members that offer each protocol

	alarm      *alarm    // of the state: the rebalance timeout, or the end of an empty group
	delayed    bool      // the first members wait for more members
	moreJoined bool      // a member has joined in this delay
	delayEnd   time.Time // latest end of the delay
	release    func()    // of acquire; nil while the group is not acquired
}

func newGroup(c *Coordinator, name string) *group {
	return &group{
		c: c, name: name, state: Empty, byID: make(map[string]*member), static: make(map[string]*member),
		pending: make(map[string]*alarm), support: make(map[string]int),
	}
}

// vacant reports whether the group has no members and no pending ones.
func (g *group) vacant() bool { return len(g.members) == 0 && len(g.pending) == 0 }

// acquire reserves the group for Kafka's members.
func (g *group) acquire() error {
	if g.release != nil {
		return nil
	}
	release, err := g.c.opts.Acquire(g.name)
	if err != nil {
		g.c.log.Info("a member cannot join", "group", g.name, "reason", err)
		return err
	}
	g.release = release
	return nil
}

// releaseVacant releases a vacant group for other consumers, and forgets it after emptyTime, or
// at once if it never had a generation.
func (g *group) releaseVacant() {
	if !g.vacant() || g.state == Dead {
		return
	}
	if g.release != nil {
		g.release()
		g.release = nil
	}
	if g.generation == 0 {
		g.forget()
		return
	}
	g.alarm.stop()
	g.alarm = g.c.after(emptyTime, func() {
		if g.vacant() {
			g.forget()
		}
	})
}

// forget removes a vacant group.
func (g *group) forget() {
	g.state = Dead
	g.alarm.stop()
	delete(g.c.groups, g.name)
}

// close completes all waiting requests with ErrClosed.
func (g *group) close() {
	g.alarm.stop()
	for id := range g.pending {
		g.removePending(id)
	}
	for _, m := range slices.Clone(g.members) {
		g.drop(m, ErrClosed)
	}
	if g.release != nil {
		g.release()
		g.release = nil
	}
	g.forget()
}

// validate finds a member by its id and, for static ones, its instance id.
func (g *group) validate(id, instance string) (*member, error) {
	if instance != "" {
		switch m := g.static[instance]; {
		case m == nil:
			return nil, ErrUnknownMember
		case m.id != id:
			return nil, ErrFenced
		}
	}
	if m := g.byID[id]; m != nil {
		return m, nil
	}
	return nil, ErrUnknownMember
}

// add adds a new member, which waits for the response to its join.
func (g *group) add(m *member, r *JoinRequest, reply func(JoinReply)) error {
	if len(g.members)+len(g.pending) >= g.c.opts.Limits.MaxMembers {
		return ErrFull
	}
	if err := g.acquire(); err != nil {
		return err
	}
	if err := g.update(m, r, reply); err != nil {
		return err
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	if m.instance != "" {
		g.static[m.instance] = m
	}
	g.moreJoined = true
	return nil
}

// update sets a member's data from its request, and has it wait for the response. After an
// error the member is unchanged.
func (g *group) update(m *member, r *JoinRequest, reply func(JoinReply)) error {
	size := r.size() + int64(len(m.assignment))
	if err := g.c.charge(size - m.size); err != nil {
		return err
	}
	m.size = size
	g.countProtocols(m, -1)
	m.set(r)
	g.protocolType = r.ProtocolType
	g.countProtocols(m, +1)
	g.replyJoin(m, JoinReply{Err: ErrRebalance})
	m.join = reply
	g.touch(m)
	return nil
}

// countProtocols updates support.
func (g *group) countProtocols(m *member, by int) {
	for _, p := range m.protocols {
		if g.support[p.Name] += by; g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

// remove removes a member and starts a rebalance of the others. The member's waiting requests
// get err.
func (g *group) remove(m *member, err error) {
	g.drop(m, err)
	switch g.state {
	case Stable, CompletingRebalance:
		g.prepare("a member has left")
	case PreparingRebalance:
		g.tryComplete()
	}
}

// drop removes a member without a rebalance.
func (g *group) drop(m *member, err error) {
	g.replyJoin(m, JoinReply{Err: err})
	g.replySync(m, SyncReply{Err: err})
	m.alarm.stop()
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	delete(g.byID, m.id)
	if m.instance != "" {
		delete(g.static, m.instance)
	}
	g.countProtocols(m, -1)
	g.c.charge(-m.size)
}

// addPending reserves an id for a new member, for the time of its session timeout.
func (g *group) addPending(id string, wait time.Duration) error {
	if len(g.members)+len(g.pending) >= g.c.opts.Limits.MaxMembers {
		return ErrFull
	}
	if err := g.acquire(); err != nil {
		return err
	}
	if err := g.c.charge(memberCost); err != nil {
		return err
	}
	g.pending[id] = g.c.after(wait, func() { g.expirePending(id) })
	return nil
}

// removePending removes a reserved id.
func (g *group) removePending(id string) {
	g.pending[id].stop()
	delete(g.pending, id)
	g.c.charge(-memberCost)
}

// expirePending removes the id of a member that has not joined.
func (g *group) expirePending(id string) {
	g.removePending(id)
	g.tryComplete()
	g.releaseVacant()
}

// supports reports whether all members but m have one of the protocols in common.
func (g *group) supports(kind string, protocols []Protocol, m *member) bool {
	others := len(g.members)
	if m != nil {
		others--
	}
	if others == 0 {
		return true
	}
	return kind == g.protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool {
		n := g.support[p.Name]
		if m != nil && m.offersProtocol(p.Name) {
			n--
		}
		return n == others
	})
}

// choose elects the protocol of the next generation: of those that all members
// offer, the one that most of them prefer.
func (g *group) choose() string {
	votes := make(map[string]int)
	best := ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.support[p.Name] == len(g.members) {
				votes[p.Name]++
				if votes[p.Name] > votes[best] {
					best = p.Name
				}
				break
			}
		}
	}
	return best
}
