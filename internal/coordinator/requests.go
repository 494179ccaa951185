package coordinator

// member finds the group and member that a request names, in its generation. One
// that waits for its first join is in none yet, whatever its former self was told.
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
	if generation != g.generation || m.fresh {
		return nil, nil, ErrIllegalGeneration
	}
	return g, m, nil
}

// Heartbeat says that a member is alive. ErrRebalance tells it to join again.
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

// A Leaver is a member that leaves: by its id or, for a static one, by its
// instance id, with or without the id.
type Leaver struct{ Member, Instance string }

// Leave removes members and says for each what came of it: of a group that is not known
// none is a member. The second error is for all of them.
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
	if _, invited := g.invited[l.Member]; invited && l.Instance == "" {
		g.withdraw(l.Member)
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

// A Committer wants to commit offsets: a member, or somebody from outside, with a
// generation of -1. Consumers that choose their partitions themselves are outside, too, and
// may have an instance id.
type Committer struct {
	Group, Member, Instance string
	Generation              int32
}

// BeginCommit says whether offsets may be committed; end is to be called when
// they are: until then the group is claimed, so that consumers of other protocols begin
// after the commit. From outside that is so while the group has no members of any kind;
// else the error is ErrUnknownMember, or the Claim's. Members are told ErrRebalance
// when they have joined a generation and don't know their part yet, and ErrUnknownGroup
// if there is no such group.
func (c *Coordinator) BeginCommit(r Committer) (end func(), err error) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.mayCommit(r); err != nil {
		return nil, err
	}
	return c.opts.Claim(r.Group)
}

// mayCommit is BeginCommit without the claim. The caller holds mu.
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

// QueueCommit calls queue if what BeginCommit has let through may still be committed, else
// it returns why not, as BeginCommit does. No generation begins before queue returns, so
// that the commits of one are queued before those of the next. queue must not block, nor
// call the Coordinator.
func (c *Coordinator) QueueCommit(r Committer, queue func()) error {
	c.mu.Lock()
	defer c.unlock()
	if err := c.mayCommit(r); err != nil {
		return err
	}
	queue()
	return nil
}

// Idle keeps consumers of other protocols out of a group until end is called,
// for a change of its offsets. It fails with ErrNotEmpty, or with the Claim's error, if
// somebody is in it. Kafka's members may join meanwhile.
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
	return c.opts.Claim(groupName)
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
	g.die()
	return nil
}
