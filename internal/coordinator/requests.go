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

// Leave removes members and says for each what came of it. The second error is
// for all of them.
func (c *Coordinator) Leave(groupName string, leavers []Leaver) ([]error, error) {
	c.mu.Lock()
	defer c.unlock()
	g, err := c.find(groupName)
	if err == ErrUnknownGroup {
		return nil, ErrUnknownMember
	}
	if err != nil {
		return nil, err
	}
	results := make([]error, len(leavers))
	for i, l := range leavers {
		results[i] = g.leave(l)
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

// A Committer is who wants to commit offsets: a member, or somebody from
// outside, with no names and a generation of -1.
type Committer struct {
	Group, Member, Instance string
	Generation              int32
}

func (r Committer) outside() bool { return r.Generation < 0 && r.Member == "" && r.Instance == "" }

// BeginCommit says whether offsets may be committed; end is to be called when
// they are. From outside that is so while the group has no members of any kind;
// else the error is ErrUnknownMember, or the Claim's. Members are told ErrRebalance
// when they have joined a generation and don't know their part yet.
func (c *Coordinator) BeginCommit(r Committer) (end func(), err error) {
	c.mu.Lock()
	defer c.unlock()
	if r.outside() {
		end, err = c.idle(r.Group)
		if err == ErrNotEmpty {
			err = ErrUnknownMember
		}
		return end, err
	}
	if err := c.mayCommit(r); err != nil {
		return nil, err
	}
	return func() {}, nil
}

// mayCommit is BeginCommit for a member. The caller holds mu.
func (c *Coordinator) mayCommit(r Committer) error {
	g, m, err := c.member(r.Group, r.Member, r.Instance, r.Generation)
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
	if r.outside() {
		if g, _ := c.find(r.Group); g != nil && len(g.members) > 0 {
			return ErrUnknownMember
		}
	} else if err := c.mayCommit(r); err != nil {
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
