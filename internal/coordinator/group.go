package coordinator

import (
	"slices"
	"time"
)

// A State is what a group is doing. Its text is the one that Kafka's clients
// know.
type State string

// The states of a group. Dead is the one of a group that is not known.
const (
	Empty               State = "Empty"
	PreparingRebalance  State = "PreparingRebalance"
	CompletingRebalance State = "CompletingRebalance"
	Stable              State = "Stable"
	Dead                State = "Dead"
)

// A group is one consumer group. All of it is guarded by the coordinator's lock.
type group struct {
	c          *Coordinator
	name       string
	state      State
	generation int32
	kind       string  // Kafka's protocol type: "consumer", "connect"; "" with no members
	protocol   string  // chosen for this generation; "" while there is none
	leader     *member // of this generation

	members []*member // in the order in which they came
	byID    map[string]*member
	static  map[string]*member // by instance id
	invited map[string]*alarm  // ids that were given out and not used yet (KIP-394)
	support map[string]int     // how many members offer each protocol

	alarm   *alarm    // of the state: the rebalance timeout, or the end of an empty group
	delayed bool      // the first members wait for more
	growing bool      // somebody has come in this delay
	until   time.Time // at which the delay ends whoever comes
	release func()    // of the claim; nil while there is none
}

func newGroup(c *Coordinator, name string) *group {
	return &group{
		c: c, name: name, state: Empty, byID: make(map[string]*member), static: make(map[string]*member),
		invited: make(map[string]*alarm), support: make(map[string]int),
	}
}

// vacant says that nobody is in the group or about to be.
func (g *group) vacant() bool { return len(g.members) == 0 && len(g.invited) == 0 }

// claim takes the group for Kafka's members.
func (g *group) claim() error {
	if g.release != nil {
		return nil
	}
	release, err := g.c.opts.Claim(g.name)
	if err != nil {
		g.c.log.Info("a member cannot join", "group", g.name, "reason", err)
		return err
	}
	g.release = release
	return nil
}

// settle gives a vacant group back to others, and forgets it in a while; at once
// if it never had a generation.
func (g *group) settle() {
	if !g.vacant() || g.state == Dead {
		return
	}
	if g.release != nil {
		g.release()
		g.release = nil
	}
	if g.generation == 0 {
		g.die()
		return
	}
	g.alarm.stop()
	g.alarm = g.c.after(emptyTime, func() {
		if g.vacant() {
			g.die()
		}
	})
}

// die forgets a vacant group.
func (g *group) die() {
	g.state = Dead
	g.alarm.stop()
	delete(g.c.groups, g.name)
}

// close answers all that wait.
func (g *group) close() {
	g.alarm.stop()
	for id := range g.invited {
		g.uninvite(id)
	}
	for _, m := range slices.Clone(g.members) {
		g.drop(m, ErrClosed)
	}
	if g.release != nil {
		g.release()
		g.release = nil
	}
	g.die()
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

// add puts a new member into the group, which waits for the answer to its join.
func (g *group) add(m *member, r *JoinRequest, reply func(JoinReply)) error {
	if len(g.members)+len(g.invited) >= g.c.opts.Limits.MaxMembers {
		return ErrFull
	}
	if err := g.claim(); err != nil {
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
	g.growing = true
	return nil
}

// update takes over what a member joins with, and has it wait for the answer.
// On error the member is as it was.
func (g *group) update(m *member, r *JoinRequest, reply func(JoinReply)) error {
	size := r.size() + int64(len(m.assignment))
	if err := g.c.charge(size - m.size); err != nil {
		return err
	}
	m.size = size
	g.count(m, -1)
	m.set(r)
	g.kind = r.Kind
	g.count(m, +1)
	g.answerJoin(m, JoinReply{Err: ErrRebalance})
	m.join = reply
	g.touch(m)
	return nil
}

// count keeps support.
func (g *group) count(m *member, by int) {
	for _, p := range m.protocols {
		if g.support[p.Name] += by; g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

// remove takes a member out, which begins a new generation without it. Its own
// requests that wait are answered with err.
func (g *group) remove(m *member, err error) {
	g.drop(m, err)
	switch g.state {
	case Stable, CompletingRebalance:
		g.prepare("a member has left")
	case PreparingRebalance:
		g.tryComplete()
	}
}

// drop is remove without what follows from it.
func (g *group) drop(m *member, err error) {
	g.answerJoin(m, JoinReply{Err: err})
	g.answerSync(m, SyncReply{Err: err})
	m.alarm.stop()
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	delete(g.byID, m.id)
	if m.instance != "" {
		delete(g.static, m.instance)
	}
	g.count(m, -1)
	g.c.charge(-m.size)
}

// invite keeps an id for a new member, for as long as its session timeout.
func (g *group) invite(id string, wait time.Duration) error {
	if len(g.members)+len(g.invited) >= g.c.opts.Limits.MaxMembers {
		return ErrFull
	}
	if err := g.claim(); err != nil {
		return err
	}
	if err := g.c.charge(memberCost); err != nil {
		return err
	}
	g.invited[id] = g.c.after(wait, func() { g.withdraw(id) })
	return nil
}

// uninvite forgets an id that was given out.
func (g *group) uninvite(id string) {
	g.invited[id].stop()
	delete(g.invited, id)
	g.c.charge(-memberCost)
}

// withdraw is uninvite for one who does not come.
func (g *group) withdraw(id string) {
	g.uninvite(id)
	g.tryComplete()
	g.settle()
}

// supports says whether all members have one of the protocols in common; m, if
// it is one of them, is not asked.
func (g *group) supports(kind string, protocols []Protocol, m *member) bool {
	others := len(g.members)
	if m != nil {
		others--
	}
	if others == 0 {
		return true
	}
	return kind == g.kind && slices.ContainsFunc(protocols, func(p Protocol) bool {
		n := g.support[p.Name]
		if m != nil && m.offersOne(p.Name) {
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
