package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/coordinator"
)

// JoinGroup, versions 0 to 9: the response is sent when all members have joined. From version
// 4 on a new member gets an id first and joins again with it (KIP-394); static members
// (version 5) return without a rebalance. A rebalance timeout of 0, or of -1 as in version 0,
// is the session timeout. INCONSISTENT_GROUP_PROTOCOL is also for a group in use by line
// consumers.
func init() {
	register(api{
		key: 11, min: 0, max: 9, handle: typed(joinGroup),
		doc: "Session timeouts of 6 s (`-min-session`) to 30 min. While line consumers use the group: INCONSISTENT_GROUP_PROTOCOL.",
	})
}

func joinGroup(c *call, req *kmsg.JoinGroupRequest) {
	version, name := req.Version, req.Group
	if err := c.mayUse(name); err != nil {
		c.reply(joinResponse(version, coordinator.JoinReply{Err: err, Generation: -1}))
		return
	}
	c.onClose(func() {
		c.reply(joinResponse(version, coordinator.JoinReply{Err: coordinator.ErrClosed, Generation: -1}))
	})
	c.server.groups.Join(joinRequest(c, req), func(r coordinator.JoinReply) {
		if r.Err == nil {
			c.conn.inGroup(name)
		}
		c.reply(joinResponse(version, r))
	})
}

func joinRequest(c *call, req *kmsg.JoinGroupRequest) coordinator.JoinRequest {
	r := coordinator.JoinRequest{
		Group: req.Group, Member: req.MemberID, Instance: value(req.InstanceID),
		Client: string(c.header.client), Host: c.clientHost(),
		Session:      time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		Rebalance:    time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType: req.ProtocolType,
		Protocols:    make([]coordinator.Protocol, len(req.Protocols)),
		RequireID:    req.Version >= 4,
		MaySkip:      req.Version >= 9,
	}
	for i, p := range req.Protocols {
		r.Protocols[i] = coordinator.Protocol{Name: p.Name, Metadata: p.Metadata}
	}
	return r
}

func joinResponse(version int16, r coordinator.JoinReply) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Version = version
	resp.ErrorCode = joinCode(r.Err)
	resp.MemberID, resp.LeaderID = r.Member, r.Leader
	resp.Generation = r.Generation
	resp.ProtocolType, resp.Protocol = nullable(r.ProtocolType), nullable(r.Protocol)
	resp.SkipAssignment = r.SkipAssignment
	for _, m := range r.Members {
		out := kmsg.NewJoinGroupResponseMember()
		out.MemberID, out.InstanceID, out.ProtocolMetadata = m.Member, nullable(m.Instance), m.Metadata
		resp.Members = append(resp.Members, out)
	}
	return resp
}
