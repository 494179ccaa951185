package coordinator

import (
	"slices"
	"time"
)

// rebalanceTime is how long members have to join, or to ask for their part: as
// long as the most patient of them says.
func (g *group) rebalanceTime() time.Duration {
	var longest time.Duration
	for _, m := range g.members {
		longest = max(longest, m.rebalance)
	}
	return longest
}

// prepare begins a rebalance: all members are to join again.
func (g *group) prepare(reason string) {
	g.c.log.Debug("rebalance begins", "group", g.name, "generation", g.generation, "members", len(g.members), "reason", reason)
	for _, m := range g.members {
		g.answerSync(m, SyncReply{Err: ErrRebalance})
	}
	g.delayed = g.state == Empty && g.c.opts.RebalanceDelay > 0
	g.state = PreparingRebalance
	g.alarm.stop()
	if g.delayed {
		g.until = g.c.clock.Now().Add(g.rebalanceTime())
		g.delay()
		return
	}
	g.alarm = g.c.after(g.rebalanceTime(), g.completeJoin)
	g.tryComplete()
}

// delay waits for more first members (KIP-134), anew with each that comes, at
// most for a rebalance timeout.
func (g *group) delay() {
	g.growing = false
	wait := min(g.c.opts.RebalanceDelay, g.until.Sub(g.c.clock.Now()))
	g.alarm = g.c.after(wait, func() {
		if g.growing {
			g.delay()
			return
		}
		g.delayed = false
		g.completeJoin()
	})
}

// tryComplete ends the joining if all have joined, or nobody is left.
func (g *group) tryComplete() {
	if g.state != PreparingRebalance {
		return
	}
	absent := func(m *member) bool { return m.join == nil }
	if len(g.members) > 0 && (g.delayed || len(g.invited) > 0 || slices.ContainsFunc(g.members, absent)) {
		return
	}
	g.completeJoin()
}

// completeJoin begins a new generation with those who have joined, and with the
// static members: they are expected back until their sessions end.
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
	g.begin()
}

// elect makes the first of those who have joined the leader.
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
	g.settle()
}

// begin tells all of the new generation. Then they have to ask for their part.
func (g *group) begin() {
	g.state = CompletingRebalance
	g.protocol = g.choose()
	for _, m := range g.members {
		g.assign(m, nil)
		m.fresh = false
		m.synced = m.join == nil // a static one that is away is not told, and so not expected
	}
	for _, m := range g.members {
		if m.join != nil {
			g.answerJoin(m, g.joinReply(m))
		}
	}
	g.alarm = g.c.after(g.rebalanceTime(), g.lateSyncs)
}

// lateSyncs removes those who were told of the generation and have not asked
// for their part, a leader that never hands one in among them.
func (g *group) lateSyncs() {
	late := slices.Clone(g.members)
	late = slices.DeleteFunc(late, func(m *member) bool { return m.synced })
	if len(late) == 0 {
		return
	}
	for _, m := range late {
		g.c.log.Info("member has not asked for its part", "group", g.name, "member", m.id, "client", m.client, "host", m.host)
		g.drop(m, ErrUnknownMember)
	}
	g.prepare("members have not asked for their part")
}

// answerJoin answers a join, if one waits. From now on the member has to be
// heard of again.
func (g *group) answerJoin(m *member, r JoinReply) {
	reply := m.join
	if reply == nil {
		return
	}
	m.join = nil
	g.touch(m)
	if r.Err != nil {
		r.Member, r.Generation = m.id, noGeneration
	}
	g.c.answers = append(g.c.answers, func() { reply(r) })
}

// answerSync answers a sync, if one waits, like answerJoin.
func (g *group) answerSync(m *member, r SyncReply) {
	reply := m.sync
	if reply == nil {
		return
	}
	m.sync = nil
	g.touch(m)
	g.c.answers = append(g.c.answers, func() { reply(r) })
}
