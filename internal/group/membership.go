package group

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Membership is how a connection, or a protocol, uses a group.
type Membership struct {
	Protocol string // "line" or "kafka"
	Topic    string // that Ordered is about; "" for the whole group
	Ordered  bool   // by key
	Client   string // its address, to be shown
}

func (u Membership) String() string {
	switch {
	case u.Protocol == "kafka":
		return "Kafka clients"
	case u.Protocol != "line":
		return "a request of " + u.Protocol
	case u.Topic == "":
		return "consumers of lines"
	case u.Ordered:
		return "consumers with ordered"
	}
	return "consumers without ordered"
}

// An InUseError is the error for a member that can't share a group with its members.
type InUseError struct {
	Group string
	By    Membership
}

func (e *InUseError) Error() string { return fmt.Sprintf("group %q is in use by %v", e.Group, e.By) }

// use is how a group is used, and its members.
type use struct {
	protocol string
	members  map[*Membership]func() bool // each has its yield, see JoinUntil
	topics   map[string]*topicUse
}

// topicUse is how the members of a group use one topic, and how many do.
type topicUse struct {
	ordered bool
	members int
}

// Join lets a member use a group until it calls leave: all by one protocol, and
// all of one topic either with Ordered or without. The error is an *InUseError if
// the group is used in another way.
func (g *Groups) Join(name string, u Membership) (leave func(), err error) {
	return g.JoinUntil(name, u, nil)
}

// JoinUntil is Join for a member that may yield to a member that uses the group, or its topic
// in the group, in another way, or to a deletion of the group. yield reports whether the member
// yields: then it has left, and takes nothing of the group any more. yield must not block,
// nor call this package.
func (g *Groups) JoinUntil(name string, u Membership, yield func() bool) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.uses[name]; now != nil && now.protocol != u.Protocol {
		g.evict(name, "")
	} else if now != nil && now.topics[u.Topic] != nil && now.topics[u.Topic].ordered != u.Ordered {
		g.evict(name, u.Topic)
	}
	now := g.uses[name]
	if now == nil {
		now = &use{protocol: u.Protocol, members: make(map[*Membership]func() bool), topics: make(map[string]*topicUse)}
		g.uses[name] = now
	}
	topic := now.topics[u.Topic]
	if topic == nil {
		topic = &topicUse{ordered: u.Ordered}
	}
	if now.protocol != u.Protocol {
		return nil, &InUseError{name, Membership{Protocol: now.protocol}}
	}
	if topic.ordered != u.Ordered {
		return nil, &InUseError{name, Membership{Protocol: now.protocol, Topic: u.Topic, Ordered: topic.ordered}}
	}
	now.topics[u.Topic] = topic
	topic.members++
	now.members[&u] = yield
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.leave(name, &u)
	}, nil
}

// evict has those members leave a group that yield: those that use the topic, or all of them
// if that is empty. The caller holds mu.
func (g *Groups) evict(name, topic string) {
	now := g.uses[name]
	if now == nil {
		return
	}
	for u, yield := range now.members {
		if yield != nil && (topic == "" || u.Topic == topic) && yield() {
			g.leave(name, u)
		}
	}
}

// leave takes a member off a group, unless it has left before. The caller holds mu.
func (g *Groups) leave(name string, u *Membership) {
	now := g.uses[name]
	if now == nil {
		return
	}
	if _, is := now.members[u]; !is {
		return
	}
	delete(now.members, u)
	topic := now.topics[u.Topic]
	if topic.members--; topic.members == 0 {
		delete(now.topics, u.Topic)
	}
	if len(now.members) == 0 {
		delete(g.uses, name)
		g.lastLeft(name)
	}
}

// Members is how many use a group, and by which protocol; 0 if none does.
func (g *Groups) Members(name string) (int, Membership) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members(name)
}

func (g *Groups) members(name string) (int, Membership) {
	if now := g.uses[name]; now != nil {
		return len(now.members), Membership{Protocol: now.protocol}
	}
	return 0, Membership{}
}

// MemberList are the members that use a group, by client and topic.
func (g *Groups) MemberList(name string) []Membership {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Membership
	if now := g.uses[name]; now != nil {
		for u := range now.members {
			all = append(all, *u)
		}
	}
	slices.SortFunc(all, func(a, b Membership) int {
		return cmp.Or(strings.Compare(a.Client, b.Client), strings.Compare(a.Topic, b.Topic))
	})
	return all
}
