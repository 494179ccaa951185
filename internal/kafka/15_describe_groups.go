package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/coordinator"
	"mbus/internal/group"
)

// DescribeGroups, versions 0 to 6: state, members and their assignments. An unknown group is
// "Dead", from version 6 on with GROUP_ID_NOT_FOUND. A group that only has committed offsets
// is "Empty"; one in use by line consumers is "Stable", with these as members, without
// assignments. Authorized operations are not set.
func init() {
	register(api{
		key: 15, min: 0, max: 6, handle: typed(describeGroups),
		doc: "A group of line consumers is Stable, its members have addresses and no assignment. No authorized operations.",
	})
}

func describeGroups(c *call, req *kmsg.DescribeGroupsRequest) {
	if err := checkNames(req.Groups); err != nil {
		c.fail(err)
		return
	}
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, name := range req.Groups {
		d, err := c.describeGroup(name)
		out := groupDescription(name, d)
		if unknown := errors.Is(err, coordinator.ErrUnknownGroup); !unknown || req.Version >= 6 {
			out.ErrorCode, out.ErrorMessage = groupCode(err), text(err)
		}
		resp.Groups = append(resp.Groups, out)
	}
	c.reply(resp)
}

// describeGroup describes a group of the coordinator or, if that does not have it, of the
// broker.
func (c *call) describeGroup(name string) (coordinator.Description, error) {
	if err := c.conn.view.Allow(broker.Describe, broker.GroupResource, name); err != nil {
		return coordinator.Description{}, err
	}
	d, err := c.server.groups.Describe(name)
	if !errors.Is(err, coordinator.ErrUnknownGroup) {
		return d, err
	}
	if members := lineMembers(c.conn.view.Members(name)); len(members) > 0 {
		return coordinator.Description{State: coordinator.Stable, ProtocolType: coordinator.Consumer, Members: members}, nil
	}
	if c.conn.view.KeepsGroup(name) {
		return coordinator.Description{State: coordinator.Empty}, nil
	}
	return d, err
}

// lineMembers are the line consumers of a group, each with its address. They lease messages,
// not partitions.
func lineMembers(uses []group.Membership) []coordinator.Described {
	var all []coordinator.Described
	for _, u := range uses {
		if u.Protocol == broker.UseLine.Protocol {
			all = append(all, coordinator.Described{
				Member: "line-" + u.Client + "-" + u.Topic, Client: "line", Host: hostOf(u.Client),
			})
		}
	}
	return all
}

func groupDescription(name string, d coordinator.Description) kmsg.DescribeGroupsResponseGroup {
	out := kmsg.NewDescribeGroupsResponseGroup()
	out.Group, out.State, out.ProtocolType, out.Protocol = name, string(d.State), d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID = m.Member, nullable(m.Instance)
		member.ClientID, member.ClientHost = m.Client, m.Host
		member.ProtocolMetadata, member.MemberAssignment = m.Metadata, m.Assignment
		out.Members = append(out.Members, member)
	}
	return out
}
