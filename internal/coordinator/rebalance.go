package coordinator

import (
	"slices"
	"time"
)

// rebalanceTime is the time for members to join, or to ask for their assignments: the longest
// rebalance timeout of any member.
func (g *group) rebalanceTime() time.Duration {
	var longest time.Duration
	for _, m := range g.members {
		longest = max(longest, m.rebalance)
	}
	return longest
}

// prepare starts a rebalance: all members have to join again.
func (g *group) prepare(reason string) {
	g.c.log.Debug("rebalance begins", "group", g.name, "generation", g.generation, "members", len(g.members), "reason", reason)
	for _, m := range g.members {
		g.replySync(m, SyncReply{Err: ErrRebalance})
	}
	g.delayed = g.state == Empty && g.c.opts.RebalanceDelay > 0
	g.state = PreparingRebalance
	g.alarm.stop()
	if g.delayed {
		g.delayEnd = g.c.clock.Now().Add(g.rebalanceTime())
		g.delay()
		return
	}
	g.alarm = g.c.after(g.rebalanceTime(), g.completeJoin)
	g.tryComplete()
}

// delay waits for more first members (KIP-134). Each new one restarts it, up to a rebalance
// timeout in all.
func (g *group) delay() {
	g.moreJoined = false
	wait := min(g.c.opts.RebalanceDelay, g.delayEnd.Sub(g.c.clock.Now()))
	g.alarm = g.c.after(wait, func() {
		if g.moreJoined {
			g.delay()
			return
		}
		g.delayed = false
		g.completeJoin()
	})
}

// tryComplete ends the joining if all members have joined, or none is left.
func (g *group) tryComplete() {
	if g.state != PreparingRebalance {
		return
	}
	absent := func(m *member) bool { return m.join == nil }
	if len(g.members) > 0 && (g.delayed || len(g.pending) > 0 || slices.ContainsFunc(g.members, absent)) {
		return
	}
	g.completeJoin()
}

// completeJoin starts a new generation of the members that have joined, and of static
// members, which may return until their sessions end.
func (g *group) completeJoin() {
	g.alarm.stop()
	g.delayed = false
	for _, m := range slices.Clone(g.members) {
		if m.join == nil && m.instance == "" {
			g.c.log.Info("member has not joined again", "group", g.name, "member", m.id, "client", m.client, "host", m.host)
			g.drop(m, ErrUnknownMember)
		}
	}
	if !g.elect() && len(g.members) > 0 {
		g.alarm = g.c.after(g.rebalanceTime(), g.completeJoin)
		return
	}
	g.generation++
	if len(g.members) == 0 {
		g.becomeEmpty()
		return
	}
	g.startGeneration()
}

// elect makes the first member that has joined the leader.
func (g *group) elect() bool {
	i := slices.IndexFunc(g.members, func(m *member) bool { return m.join != nil })
	if i < 0 {
		return false
	}
	g.leader = g.members[i]
	return true
}

func (g *group) becomeEmpty() {
	g.c.log.Debug("group is empty", "group", g.name, "generation", g.generation)
	g.state, g.protocol, g.leader = Empty, "", nil
	g.releaseVacant()
}

// startGeneration sends the joined members the new generation. Then they have to ask for
// their assignments.
func (g *group) startGeneration() {
	g.state = CompletingRebalance
	g.protocol = g.choose()
	for _, m := range g.members {
		g.assign(m, nil)
		m.isNew = false
		m.synced = m.join == nil // a static member that is away does not know the generation
	}
	for _, m := range g.members {
		if m.join != nil {
			g.replyJoin(m, g.joinReply(m))
		}
	}
	g.alarm = g.c.after(g.rebalanceTime(), g.expireSyncs)
}

// expireSyncs removes members that know the generation and have not asked for their
// assignments, such as a leader that never sends them.
func (g *group) expireSyncs() {
	late := slices.Clone(g.members)
	late = slices.DeleteFunc(late, func(m *member) bool { return m.synced })
	if len(late) == 0 {
		return
	}
	for _, m := range late {
		g.c.log.Info("member has not asked for its assignment", "group", g.name, "member", m.id, "client", m.client, "host", m.host)
		g.drop(m, ErrUnknownMember)
	}
	g.prepare("members have not asked for their assignments")
}

// replyJoin completes a waiting join. The session timeout begins again.
func (g *group) replyJoin(m *member, r JoinReply) {
	reply := m.join
	if reply == nil {
		return
	}
	m.join = nil
	g.touch(m)
	if r.Err != nil {
		r.Member, r.Generation = m.id, noGeneration
	}
	g.c.replies = append(g.c.replies, func() { reply(r) })
}

// replySync completes a waiting sync, like replyJoin.
func (g *group) replySync(m *member, r SyncReply) {
	reply := m.sync
	if reply == nil {
		return
	}
	m.sync = nil
	g.touch(m)
	g.c.replies = append(g.c.replies, func() { reply(r) })
}
