package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// DescribeAcls, versions 1 to 3: users' permissions, as ACLs. The permission admin on topics is CREATE, DELETE, ALTER
// and ALTER_CONFIGS; with consume and publish it is ALL. It takes admin on all topics.
func init() {
	register(api{
		key: 29, min: 1, max: 3, handle: typed(describeACLs),
		doc: "Users' permissions: consume is READ, publish WRITE, describe DESCRIBE, admin DELETE of a group, or CREATE, DELETE, ALTER and ALTER_CONFIGS of a topic; all of them are ALL.",
	})
}

func describeACLs(c *call, req *kmsg.DescribeACLsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeACLsResponse)
	f := filter{
		ResourceType: req.ResourceType, ResourceName: req.ResourceName, ResourcePatternType: req.ResourcePatternType,
		Principal: req.Principal, Host: req.Host, Operation: req.Operation, PermissionType: req.PermissionType,
	}
	users, err := c.conn.view.UserEditor()
	if err == nil {
		err = checkFilter(&f)
	}
	if err == nil {
		resp.Resources = aclResources(users.List(), &f)
	}
	resp.ErrorCode, resp.ErrorMessage = code(err), text(err)
	c.reply(resp)
}

// aclResources are the ACLs that a filter is for, by resource.
func aclResources(users []auth.User, f *filter) (all []kmsg.DescribeACLsResponseResource) {
	at := make(map[auth.Permission]int) // by permission without operations
	for i := range users {
		for _, p := range users[i].Permissions {
			for _, a := range matching(f, users[i].Name, p) {
				key := auth.Permission{Kind: p.Kind, Pattern: p.Pattern}
				if _, known := at[key]; !known {
					at[key] = len(all)
					r := kmsg.NewDescribeACLsResponseResource()
					r.ResourceType, r.ResourceName, r.ResourcePatternType = a.ResourceType, a.ResourceName, a.ResourcePatternType
					all = append(all, r)
				}
				out := kmsg.NewDescribeACLsResponseResourceACL()
				out.Principal, out.Host, out.Operation, out.PermissionType = a.Principal, a.Host, a.Operation, a.PermissionType
				r := &all[at[key]]
				r.ACLs = append(r.ACLs, out)
			}
		}
	}
	return all
}
