package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/coordinator"
)

// LeaveGroup, versions 0 to 5: removes members, from version 3 several, and
// static ones by their instance id alone. Reasons are ignored.
func init() {
	register(api{key: 13, min: 0, max: 5, handle: typed(leaveGroup), doc: "Several members from version 3."})
}

func leaveGroup(c *call, req *kmsg.LeaveGroupRequest) {
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	leavers := []coordinator.Leaver{{Member: req.MemberID}}
	if len(req.Members) > maxNames {
		c.fail(fmt.Errorf("a request names %d members, the limit is %d", len(req.Members), maxNames))
		return
	}
	if req.Version >= 3 {
		leavers = leavers[:0]
		for _, m := range req.Members {
			leavers = append(leavers, coordinator.Leaver{Member: m.MemberID, Instance: value(m.InstanceID)})
		}
	}
	if err := c.mayUse(req.Group); err != nil {
		resp.ErrorCode = groupCode(err)
		c.reply(resp)
		return
	}
	c.conn.group.Store(nil)
	results, err := c.server.groups.Leave(req.Group, leavers)
	resp.ErrorCode = groupCode(err)
	for i, err := range results {
		if req.Version < 3 {
			resp.ErrorCode = groupCode(err)
			break
		}
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID = req.Members[i].MemberID, req.Members[i].InstanceID
		out.ErrorCode = groupCode(err)
		resp.Members = append(resp.Members, out)
	}
	c.reply(resp)
}
