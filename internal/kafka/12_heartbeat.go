package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// Heartbeat, versions 0 to 4: keeps a member's session alive. REBALANCE_IN_PROGRESS asks it
// to join again. An unknown group has no members: UNKNOWN_MEMBER_ID.
func init() {
	register(api{key: 12, min: 0, max: 4, handle: typed(heartbeat), doc: "REBALANCE_IN_PROGRESS while members join."})
}

func heartbeat(c *call, req *kmsg.HeartbeatRequest) {
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	if err := c.mayUse(req.Group); err != nil {
		resp.ErrorCode = groupCode(err)
		c.reply(resp)
		return
	}
	err := c.server.groups.Heartbeat(req.Group, req.MemberID, value(req.InstanceID), req.Generation)
	if err == nil {
		c.conn.inGroup(req.Group)
	}
	resp.ErrorCode = groupCode(err)
	c.reply(resp)
}
