package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// DescribeUserScramCredentials (KIP-554), version 0: the mechanisms and iterations of users' credentials; of all users
// that have some if none is named. It takes admin on all topics.
func init() {
	register(api{
		key: 50, min: 0, max: 0, handle: typed(describeScram),
		doc: "The mechanisms for which users have credentials.",
	})
}

// scramMechanisms are the mechanisms, by KIP-554's numbers.
var scramMechanisms = map[int8]auth.Mechanism{1: auth.SHA256, 2: auth.SHA512}

func describeScram(c *call, req *kmsg.DescribeUserSCRAMCredentialsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	users, err := c.conn.view.UserEditor()
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(err), text(err)
		c.reply(resp)
		return
	}
	if len(req.Users) == 0 {
		for _, u := range users.List() {
			if out, err := describeCredentials(&u); err == nil {
				resp.Results = append(resp.Results, out)
			}
		}
	}
	times := make(map[string]int)
	for _, asked := range req.Users {
		times[asked.Name]++
	}
	for _, asked := range req.Users {
		n := times[asked.Name]
		times[asked.Name] = 0
		if n == 0 {
			continue // it has its result
		}
		u, err := users.Find(asked.Name)
		out := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		if err == nil {
			out, err = describeCredentials(&u)
		}
		if n > 1 {
			out.CredentialInfos = nil
			err = refuse(kerr.DuplicateResource, "user %q is named %d times", asked.Name, n)
		}
		out.User, out.ErrorCode, out.ErrorMessage = asked.Name, code(err), text(err)
		resp.Results = append(resp.Results, out)
	}
	c.reply(resp)
}

// describeCredentials describes a user, or says that it has no credential.
func describeCredentials(u *auth.User) (kmsg.DescribeUserSCRAMCredentialsResponseResult, error) {
	out := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
	out.User = u.Name
	for _, credential := range u.Credentials {
		for number, m := range scramMechanisms {
			if credential.Mechanism == m {
				info := kmsg.NewDescribeUserSCRAMCredentialsResponseResultCredentialInfo()
				info.Mechanism, info.Iterations = number, int32(credential.Iterations)
				out.CredentialInfos = append(out.CredentialInfos, info)
			}
		}
	}
	if len(out.CredentialInfos) == 0 {
		return out, refuse(kerr.ResourceNotFound, "user %q has no SCRAM credentials", u.Name)
	}
	return out, nil
}
