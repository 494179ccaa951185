package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// DeleteAcls, versions 1 to 3: takes permissions away, those that DescribeAcls shows with the same filter. A filter
// for parts of admin on a topic is INVALID_REQUEST. The response is sent when it is on disk and in
// force: connections of these users are closed. It takes admin on all topics.
func init() {
	register(api{
		key: 31, min: 1, max: 3, handle: typed(deleteACLs),
		doc: "Takes permissions away. A filter for a part of admin on topics is INVALID_REQUEST. Connections of these users are closed.",
	})
}

func deleteACLs(c *call, req *kmsg.DeleteACLsRequest) {
	resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
	users, denied := c.conn.view.UserEditor()
	c.async(func() { // it waits for the disk
		for i := range req.Filters {
			out := kmsg.NewDeleteACLsResponseResult()
			err := denied
			if err == nil {
				out.MatchingACLs, err = revokeAll(users, &req.Filters[i])
			}
			out.ErrorCode, out.ErrorMessage = code(err), text(err)
			resp.Results = append(resp.Results, out)
		}
		c.reply(resp)
	})
}

// revokeAll takes from all users what a filter is for, or, if that is a part of admin of one of them, nothing.
func revokeAll(users *auth.Editor, f *filter) (all []kmsg.DeleteACLsResponseResultMatchingACL, err error) {
	if err := checkFilter(f); err != nil {
		return nil, err
	}
	list := users.List()
	for i := range list {
		if _, _, err := losses(f, &list[i]); err != nil {
			return nil, err
		}
	}
	for _, u := range list {
		deleted, err := revoke(users, u.Name, f)
		for _, a := range deleted {
			out := kmsg.NewDeleteACLsResponseResultMatchingACL()
			out.ResourceType, out.ResourceName, out.ResourcePatternType = a.ResourceType, a.ResourceName, a.ResourcePatternType
			out.Principal, out.Host, out.Operation, out.PermissionType = a.Principal, a.Host, a.Operation, a.PermissionType
			out.ErrorCode, out.ErrorMessage = code(err), text(err)
			all = append(all, out)
		}
		if err != nil && len(deleted) == 0 { // the user has got a part of admin meanwhile
			return all, err
		}
	}
	return all, nil
}

// losses are the ACLs of a user that a filter is for, and the permissions that the user loses with them.
func losses(f *filter, u *auth.User) (deleted []acl, lost []auth.Permission, err error) {
	for _, p := range u.Permissions {
		acls := matching(f, u.Name, p)
		less, err := revoked(p, acls)
		if err != nil {
			return nil, nil, err
		}
		if len(acls) > 0 {
			deleted, lost = append(deleted, acls...), append(lost, less)
		}
	}
	return deleted, lost, nil
}

// errNothing ends a change of a user of whom nothing is deleted.
var errNothing = errors.New("nothing to delete")

// revoke takes from a user what a filter is for.
func revoke(users *auth.Editor, name string, f *filter) (deleted []acl, err error) {
	err = users.Change(name, func(u *auth.User, _ bool) (err error) {
		var lost []auth.Permission
		if deleted, lost, err = losses(f, u); err == nil && len(lost) == 0 {
			err = errNothing
		}
		u.Revoke(lost...)
		return err
	})
	if errors.Is(err, errNothing) {
		return nil, nil
	}
	return deleted, err
}
