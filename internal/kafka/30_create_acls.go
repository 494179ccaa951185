package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// CreateAcls, versions 1 to 3: gives users permissions. READ is consume, WRITE publish, DESCRIBE describe, DELETE of a
// group admin, ALL all of them. What a permission can't say is INVALID_REQUEST: DENY, hosts, principals other than
// one user, resources other than topics and groups, and parts of admin. The response is sent when it is on
// disk and in force. It takes admin on all topics.
func init() {
	register(api{
		key: 30, min: 1, max: 3, handle: typed(createACLs),
		doc: "ALLOW to `User:NAME`, from all hosts, of READ, WRITE, DESCRIBE and ALL on topics, or READ, DESCRIBE, DELETE and ALL on groups; others are INVALID_REQUEST, an unknown user is RESOURCE_NOT_FOUND.",
	})
}

func createACLs(c *call, req *kmsg.CreateACLsRequest) {
	resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
	users, denied := c.conn.view.UserEditor()
	errs := make([]error, len(req.Creations))
	grants := make(map[string][]auth.Permission)
	of := make([]string, len(errs)) // the user of each ACL
	for i := range req.Creations {
		user, p, err := permissionOf(&req.Creations[i])
		if denied != nil {
			err = denied
		}
		if errs[i] = err; err == nil {
			of[i], grants[user] = user, append(grants[user], p)
		}
	}
	c.async(func() { // it waits for the disk
		failed := make(map[string]error)
		for user, permissions := range grants {
			failed[user] = grant(users, user, permissions)
		}
		for i, err := range errs {
			if err == nil {
				err = failed[of[i]]
			}
			out := kmsg.NewCreateACLsResponseResult()
			out.ErrorCode, out.ErrorMessage = code(err), text(err)
			resp.Results = append(resp.Results, out)
		}
		c.reply(resp)
	})
}

func grant(users *auth.Editor, name string, permissions []auth.Permission) error {
	return users.Change(name, func(u *auth.User, exists bool) error {
		if !exists {
			return auth.ErrUnknownUser
		}
		u.Grant(permissions...)
		return nil
	})
}
