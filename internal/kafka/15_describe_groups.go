package kafka

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/coordinator"
)

// DescribeGroups, versions 0 to 6: state, members and their parts. A group that
// is not known is "Dead", from version 6 with GROUP_ID_NOT_FOUND. One that only
// has committed offsets is "Empty"; one that line consumers use is "Stable", and
// has no members that could be shown. Authorized operations are not told.
func init() {
	register(api{
		key: 15, min: 0, max: 6, handle: typed(describeGroups),
		doc: "A group of line consumers is Stable, without members. No authorized operations.",
	})
}

func describeGroups(c *call, req *kmsg.DescribeGroupsRequest) {
	if err := checkNames(req.Groups); err != nil {
		c.fail(err)
		return
	}
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	kept := c.server.broker.GroupNames()
	for _, name := range req.Groups {
		d, err := c.server.describeGroup(name, kept)
		out := groupDescription(name, d)
		if unknown := errors.Is(err, coordinator.ErrUnknownGroup); !unknown || req.Version >= 6 {
			out.ErrorCode, out.ErrorMessage = groupCode(err), text(err)
		}
		resp.Groups = append(resp.Groups, out)
	}
	c.reply(resp)
}

// describeGroup asks the coordinator and, if it does not know the group, the
// broker. It has offsets of the groups that are kept, ascending.
func (s *Server) describeGroup(name string, kept []string) (coordinator.Description, error) {
	d, err := s.groups.Describe(name)
	if !errors.Is(err, coordinator.ErrUnknownGroup) {
		return d, err
	}
	if s.broker.Members(name) > 0 {
		return coordinator.Description{State: coordinator.Stable, Kind: coordinator.Consumer}, nil
	}
	if _, found := slices.BinarySearch(kept, name); found {
		return coordinator.Description{State: coordinator.Empty}, nil
	}
	return d, err
}

func groupDescription(name string, d coordinator.Description) kmsg.DescribeGroupsResponseGroup {
	out := kmsg.NewDescribeGroupsResponseGroup()
	out.Group, out.State, out.ProtocolType, out.Protocol = name, string(d.State), d.Kind, d.Protocol
	for _, m := range d.Members {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID = m.Member, nullable(m.Instance)
		member.ClientID, member.ClientHost = m.Client, m.Host
		member.ProtocolMetadata, member.MemberAssignment = m.Metadata, m.Part
		out.Members = append(out.Members, member)
	}
	return out
}
