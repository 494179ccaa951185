package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// DeleteGroups, versions 0 to 3: deletes groups and their committed offsets. The response is
// sent when that is on disk. A group with members, line consumers included, is
// NON_EMPTY_GROUP.
func init() {
	register(api{key: 42, min: 0, max: 3, handle: typed(deleteGroups), doc: "The response is sent when it is on disk."})
}

func deleteGroups(c *call, req *kmsg.DeleteGroupsRequest) {
	if err := checkNames(req.Groups); err != nil {
		c.fail(err)
		return
	}
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	c.async(func() { // it waits for the disk
		for _, name := range req.Groups {
			err := c.deleteGroup(name)
			out := kmsg.NewDeleteGroupsResponseGroup()
			out.Group, out.ErrorCode, out.ErrorMessage = name, groupCode(err), text(err)
			resp.Groups = append(resp.Groups, out)
		}
		c.reply(resp)
	})
}

// deleteGroup waits for the commits of members that have left, and then for the disk.
func (c *call) deleteGroup(name string) error {
	if err := c.conn.view.Allow(broker.Delete, broker.GroupResource, name); err != nil {
		return err
	}
	s := c.server
	committed := make(chan struct{})
	if s.broker.AwaitCommits([]string{name}, func() { close(committed) }) {
		<-committed
	}
	known := s.groups.Forget(name)
	if known != nil && !isUnknownGroup(known) {
		return known
	}
	err := c.conn.view.DeleteOffsets(name, nil)
	if isUnknownGroup(err) && known == nil { // it never committed
		broker.AuditChange(c.conn.view, "delete", broker.GroupResource, name)
		return nil
	}
	return err
}
