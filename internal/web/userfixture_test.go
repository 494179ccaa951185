package web

import (
	"fmt"
	"strings"
	"testing"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// A testUser is a user of a rig, with a token.
type testUser struct{ name, secret, token string }

func (r *rig) editor() *auth.Editor {
	r.Helper()
	users, err := r.broker.As(broker.Self).UserEditor()
	if err != nil {
		r.Fatal(err)
	}
	return users
}

// operate has requests be the operator's.
func (r *rig) operate() {
	r.secret = auth.NewToken()
	r.editor().SetOperator(r.secret)
}

// addUser makes a user with a password and a token, or changes one. Each permission is such as "publish,consume topic
// orders*". The first user has requests be the operator's.
func (r *rig) addUser(name, password string, permissions ...string) (u testUser) {
	r.Helper()
	if r.secret == "" {
		r.operate()
	}
	u.name = name
	err := r.editor().Change(name, func(user *auth.User, _ bool) (err error) {
		user.Permissions = permissionsOf(r, permissions...)
		if user.Credentials, err = auth.NewCredentials(password); err != nil {
			return err
		}
		var t auth.Token
		u.secret, t = user.AddToken(0)
		u.token = t.ID
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return u
}

func permissionsOf(t testing.TB, texts ...string) (all []auth.Permission) {
	t.Helper()
	for _, text := range texts {
		var p auth.Permission
		var names string
		fmt.Sscan(text, &names, &p.Kind, &p.Pattern)
		var err error
		if p.Operations, err = auth.ParseOperations(names); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// as is do on behalf of a user.
func (r *rig) as(u testUser, method, path, body string, headers ...string) (status int, answer string) {
	r.Helper()
	status, answer, _ = r.do(method, path, body, append([]string{"Authorization", "Bearer " + u.secret}, headers...)...)
	return status, answer
}

// mustAs is as, and fails the test with another status.
func (r *rig) mustAs(u testUser, status int, method, path, body string, headers ...string) string {
	r.Helper()
	got, answer := r.as(u, method, path, body, headers...)
	if got != status {
		r.Fatalf("%s %s by %s: status %d, not %d: %s", method, path, u.name, got, status, strings.TrimSpace(answer))
	}
	return answer
}
