package coordinator

// member finds the group and the member of a request, in its generation. A member that waits
// for its first join has none yet, whatever generation its former member id had.
func (c *Coordinator) member(groupName, id, instance string, generation int32) (*group, *member, error) {
	g, err := c.find(groupName)
	if err == ErrUnknownGroup {
		return nil, nil, ErrUnknownMember
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := g.validate(id, instance)
	if err != nil {
		return nil, nil, err
	}
	if generation != g.generation || m.isNew {
		return nil, nil, ErrIllegalGeneration
	}
	return g, m, nil
}

// Heartbeat extends a member's session. ErrRebalance asks it to join again.
func (c *Coordinator) Heartbeat(groupName, id, instance string, generation int32) error {
	c.mu.Lock()
	defer c.unlock()
	g, m, err := c.member(groupName, id, instance, generation)
	if err != nil {
		return err
	}
	g.touch(m)
	if g.state == PreparingRebalance {
		return ErrRebalance
	}
	return nil
}

// A Leaver is a member that leaves: by its id or, for a static one, by its instance id, with
// or without the id.
type Leaver struct{ Member, Instance string }

// Leave removes members and returns an error for each: an unknown group has no members. The
// second error is for all of them.
func (c *Coordinator) Leave(groupName string, leavers []Leaver) ([]error, error) {
	c.mu.Lock()
	defer c.unlock()
	g, err := c.find(groupName)
	if err != nil && err != ErrUnknownGroup {
		return nil, err
	}
	results := make([]error, len(leavers))
	for i, l := range leavers {
		if results[i] = ErrUnknownMember; g != nil {
			results[i] = g.leave(l)
		}
	}
	return results, nil
}

func (g *group) leave(l Leaver) error {
	if _, invited := g.pending[l.Member]; invited && l.Instance == "" {
		g.expirePending(l.Member)
		return nil
	}
	if m := g.static[l.Instance]; m != nil && l.Member == "" {
		l.Member = m.id
	}
	m, err := g.validate(l.Member, l.Instance)
	if err != nil {
		return err
	}
	g.c.log.Debug("member leaves", "group", g.name, "member", m.id)
	g.remove(m, ErrUnknownMember)
	return nil
}

// A Committer is a client that commits offsets: a member, or with generation -1 a client
// outside the group. Consumers with partitions of their own choice are outside, too, and may
// have an instance id.
type Committer struct {
	Group, Member, Instance string
	Generation              int32
}

// BeginCommit says whether a client may commit offsets. The caller calls end when they are
// committed: until then the group is acquired, so that consumers of other protocols begin
// after the commit. A client outside may commit while the group has no members of any kind;
// otherwise the error is ErrUnknownMember, or that of Acquire. Members get ErrRebalance
// between a join and their assignment, and ErrUnknownGroup if there is no such group.
func (c *Coordinator) BeginCommit(r Committer) (end func(), err error) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.mayCommit(r); err != nil {
		return nil, err
	}
	return c.opts.Acquire(r.Group)
}

// mayCommit is BeginCommit without Acquire. The caller holds mu.
func (c *Coordinator) mayCommit(r Committer) error {
	g, err := c.find(r.Group)
	if err != nil && err != ErrUnknownGroup {
		return err
	}
	empty := g == nil || len(g.members) == 0
	switch {
	case r.Generation < 0 && empty:
		return nil
	case r.Generation < 0 && r.Member == "" && r.Instance == "":
		return ErrUnknownMember
	case g == nil:
		return ErrUnknownGroup
	}
	_, m, err := c.member(r.Group, r.Member, r.Instance, r.Generation)
	if err != nil {
		return err
	}
	g.touch(m)
	if g.state == CompletingRebalance {
		return ErrRebalance
	}
	return nil
}

// QueueCommit calls queue if the client of a BeginCommit may still commit; otherwise the
// error is that of BeginCommit. No generation begins before queue returns, so that the
// commits of one are queued before those of the next. queue must not block or call the
// Coordinator.
func (c *Coordinator) QueueCommit(r Committer, queue func()) error {
	c.mu.Lock()
	defer c.unlock()
	if err := c.mayCommit(r); err != nil {
		return err
	}
	queue()
	return nil
}

// Idle keeps consumers of other protocols out of a group until end is called, for a change of
// its offsets. The error is ErrNotEmpty, or that of Acquire, if the group has members.
// Kafka's members may join meanwhile.
func (c *Coordinator) Idle(groupName string) (end func(), err error) {
	c.mu.Lock()
	defer c.unlock()
	return c.idle(groupName)
}

func (c *Coordinator) idle(groupName string) (end func(), err error) {
	g, err := c.find(groupName)
	if err != nil && err != ErrUnknownGroup {
		return nil, err
	}
	if g != nil && len(g.members) > 0 {
		return nil, ErrNotEmpty
	}
	return c.opts.Acquire(groupName)
}

// Forget removes a group that has no members. The error is ErrUnknownGroup or
// ErrNotEmpty.
func (c *Coordinator) Forget(groupName string) error {
	c.mu.Lock()
	defer c.unlock()
	g, err := c.find(groupName)
	if err != nil {
		return err
	}
	if !g.vacant() {
		return ErrNotEmpty
	}
	g.forget()
	return nil
}
