package group

import "fmt"

// A Use is how a connection, or a protocol, uses a group.
type Use struct {
	Protocol string // "line" or "kafka"
	Ordered  bool   // by key
}

func (u Use) String() string {
	switch {
	case u.Protocol != "line":
		return u.Protocol + " clients"
	case u.Ordered:
		return "consumers with ordered"
	}
	return "consumers without ordered"
}

// An InUseError says that a group has members with which another one can't
// share it.
type InUseError struct {
	Group string
	By    Use
}

func (e *InUseError) Error() string { return fmt.Sprintf("group %q is in use by %v", e.Group, e.By) }

// use is how a group is used, and by how many.
type use struct {
	Use
	members int
}

// Join lets a member use a group until it calls leave. The error is an
// *InUseError if the group is used in another way.
func (g *Groups) Join(name string, u Use) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.uses[name]
	if now == nil {
		now = &use{Use: u}
		g.uses[name] = now
	}
	if now.Use != u {
		return nil, &InUseError{name, now.Use}
	}
	now.members++
	return func() { g.leave(name) }, nil
}

func (g *Groups) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.uses[name]
	if now.members--; now.members == 0 {
		delete(g.uses, name)
	}
}

// Members is how many use a group, and how; 0 if none does.
func (g *Groups) Members(name string) (int, Use) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.uses[name]; now != nil {
		return now.members, now.Use
	}
	return 0, Use{}
}
