package kafka

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/coordinator"
)

// ListGroups, versions 0 to 5: all groups that have members, line consumers included, or
// committed offsets; from version 4 on by state, from version 5 on by type, which is
// "classic" for all.
func init() {
	register(api{key: 16, min: 0, max: 5, handle: typed(listGroups), doc: `All groups are of type "classic".`})
}

// classic is the type of this broker's groups (KIP-848 has others).
const classic = "classic"

func listGroups(c *call, req *kmsg.ListGroupsRequest) {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	for _, g := range c.listGroups() {
		if !listed(req.StatesFilter, string(g.State)) || !listed(req.TypesFilter, classic) {
			continue
		}
		out := kmsg.NewListGroupsResponseGroup()
		out.Group, out.ProtocolType, out.GroupState, out.GroupType = g.Group, g.ProtocolType, string(g.State), classic
		resp.Groups = append(resp.Groups, out)
	}
	c.reply(resp)
}

// listed reports whether a filter is empty or has the word, in any case.
func listed(filter []string, word string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, word) })
}

// listGroups merges the groups of the coordinator and of the broker, by name. The
// coordinator's state counts for groups of both.
func (c *call) listGroups() []coordinator.Listed {
	theirs := slices.DeleteFunc(c.server.groups.List(), func(g coordinator.Listed) bool {
		return !broker.May(c.conn.view, broker.Describe, broker.GroupResource, g.Group)
	})
	ours := c.conn.view.Groups()
	list := make([]coordinator.Listed, 0, len(theirs)+len(ours))
	for _, g := range ours {
		for len(theirs) > 0 && theirs[0].Group < g.Name {
			list = append(list, theirs[0])
			theirs = theirs[1:]
		}
		switch {
		case len(theirs) > 0 && theirs[0].Group == g.Name:
		case g.Membership.Protocol == broker.UseLine.Protocol:
			list = append(list, coordinator.Listed{Group: g.Name, ProtocolType: coordinator.Consumer, State: coordinator.Stable})
		case g.Kept:
			list = append(list, coordinator.Listed{Group: g.Name, State: coordinator.Empty})
		}
	}
	return append(list, theirs...)
}
