package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/coordinator"
)

// SyncGroup, versions 0 to 5: a member's assignment. The response is sent when the leader has
// sent the assignments; a rebalance in the meantime is REBALANCE_IN_PROGRESS.
func init() {
	register(api{key: 14, min: 0, max: 5, handle: typed(syncGroup), doc: "Waits for the leader."})
}

func syncGroup(c *call, req *kmsg.SyncGroupRequest) {
	version := req.Version
	if err := c.mayUse(req.Group); err != nil {
		c.reply(syncResponse(version, coordinator.SyncReply{Err: err}))
		return
	}
	c.onClose(func() { c.reply(syncResponse(version, coordinator.SyncReply{Err: coordinator.ErrClosed})) })
	r := coordinator.SyncRequest{
		Group: req.Group, Member: req.MemberID, Instance: value(req.InstanceID), Generation: req.Generation,
		ProtocolType: value(req.ProtocolType), Protocol: value(req.Protocol),
		Assignments: make([]coordinator.Assignment, len(req.GroupAssignment)),
	}
	for i, a := range req.GroupAssignment {
		r.Assignments[i] = coordinator.Assignment{Member: a.MemberID, Bytes: a.MemberAssignment}
	}
	c.server.groups.Sync(r, func(r coordinator.SyncReply) { c.reply(syncResponse(version, r)) })
}

func syncResponse(version int16, r coordinator.SyncReply) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.Version = version
	resp.ErrorCode = groupCode(r.Err)
	resp.ProtocolType, resp.Protocol = nullable(r.ProtocolType), nullable(r.Protocol)
	resp.MemberAssignment = r.Assignment
	return resp
}
