package group

import (
	"slices"
	"strings"
)

// Numbers are a position as its administrator sees it.
type Numbers struct {
	Key
	Committed      int64
	Unacknowledged int64 // messages that are leased to members
	Waiting        int64 // failed, or behind a message with the same key
	AckedAhead     int64 // acknowledged above the committed offset
	Attempt        int   // of the message that has failed most often: its failures and 1
	Returned       int64 // delivered again because they had failed or were given back, since the broker's start
	Dead           int64 // that went to the dead letters, since the broker's start
	Lost           int64 // removed by retention before they were consumed, since the broker's start
	Members        int   // connections that use the position
}

// Numbers lists the positions of a group, by topic and partition, also those of which nothing
// is kept yet; with no name it lists those of all groups, by group.
func (g *Groups) Numbers(name string) (all []Numbers) {
	if name != "" {
		g.mu.Lock()
		defer g.mu.Unlock()
		if s := g.sets[name]; s != nil {
			all = s.appendNumbers(all)
		}
		return all
	}
	g.EachNumbers(func(of []Numbers) { all = append(all, of...) })
	return all
}

// EachNumbers calls f with Numbers of each group that has positions, by name. f may not keep its argument.
func (g *Groups) EachNumbers(f func([]Numbers)) {
	var of []Numbers
	for _, s := range directoryOf(g).sets {
		g.mu.Lock() // for each, because many take long
		of = s.appendNumbers(of[:0])
		g.mu.Unlock()
		if len(of) > 0 {
			f(of)
		}
	}
}

// appendNumbers appends the set's positions by topic and partition. The caller holds the Groups' mu.
func (s *set) appendNumbers(all []Numbers) []Numbers {
	for _, p := range s.positions {
		if p.users == 0 && p.kept.isUnsaved() {
			continue // it is only there until the positions log has written that nothing is kept
		}
		all = append(all, p.numbers())
	}
	if len(all) > 1 {
		slices.SortFunc(all, func(a, b Numbers) int { return a.compare(b.Key) })
	}
	return all
}

// A directory is the groups that have positions, by name. It does not change: one is made when it is asked for and
// a group has come or gone.
type directory struct {
	names []string
	sets  []*set
}

// directoryOf is the latest one.
func directoryOf(g *Groups) *directory {
	g.mu.Lock()
	d, changes := g.latest, g.changes
	if d != nil {
		g.mu.Unlock()
		return d
	}
	type named struct {
		name string
		set  *set
	}
	all := make([]named, 0, len(g.sets))
	for name, s := range g.sets {
		all = append(all, named{name, s})
	}
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) }) // without the lock, because it takes long for many
	d = &directory{make([]string, len(all)), make([]*set, len(all))}
	for i := range all {
		d.names[i], d.sets[i] = all[i].name, all[i].set
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.changes == changes {
		g.latest = d
	}
	return d
}

// Names lists the groups that have positions, by name. The caller may not change the list.
func Names(g *Groups) []string { return directoryOf(g).names }
