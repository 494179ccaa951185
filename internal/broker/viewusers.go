package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mbus/internal/auth"
)

// UserEditor gives access to all users, to those who may change the broker as a whole. Others, also those who may look at
// it, find themselves only: see OwnUser.
func (v *View) UserEditor() (*auth.Editor, error) {
	if err := v.Allow(Alter, ClusterResource, ""); err != nil {
		return nil, err
	}
	return v.broker.users.editor.Reporting(auditUser(v)), nil
}

// auditUser logs what has changed of a user, without its secrets.
func auditUser(v *View) func(name string, before, after *auth.User) {
	return func(name string, before, after *auth.User) {
		switch {
		case after == nil:
			AuditChange(v, "delete", UserResource, name)
		case before == nil:
			AuditChange(v, "create", UserResource, name, userChanges(&auth.User{}, after)...)
		default:
			AuditChange(v, "change", UserResource, name, userChanges(before, after)...)
		}
	}
}

// userChanges are keys and values for what a user has got, and what it has lost.
func userChanges(before, after *auth.User) (all []any) {
	list := func(key string, values []string) {
		if len(values) > 0 {
			all = append(all, key, briefList(values))
		}
	}
	list("granted", newPermissions(before, after))
	list("revoked", newPermissions(after, before))
	list("credentials_set", newCredentials(before, after, true))
	list("credentials_removed", newCredentials(after, before, false))
	list("tokens_added", newTokens(before, after))
	list("tokens_removed", newTokens(after, before))
	return all
}

func briefList(values []string) string {
	if n := len(values) - maxListed; n > 0 {
		values = append(values[:maxListed:maxListed], fmt.Sprintf("%d more", n))
	}
	return strings.Join(values, "; ")
}

// newPermissions are what one user may do and another may not.
func newPermissions(before, after *auth.User) (list []string) {
	gained := *after
	gained.Revoke(before.Permissions...)
	for _, p := range gained.Permissions {
		list = append(list, fmt.Sprintf("%v %s %s", p.Operations, p.Kind, shorten(p.Pattern)))
	}
	return list
}

// newCredentials are the mechanisms of which a user has a credential that another has not; with replaced also those of
// which it has another one.
func newCredentials(before, after *auth.User, replaced bool) (list []string) {
	for _, c := range after.Credentials {
		if !slices.ContainsFunc(before.Credentials, func(old auth.Credential) bool {
			return old.Mechanism == c.Mechanism && (!replaced || slices.Equal(old.StoredKey, c.StoredKey))
		}) {
			list = append(list, string(c.Mechanism))
		}
	}
	return list
}

// newTokens are the tokens that one user has and another has not.
func newTokens(before, after *auth.User) (list []string) {
	for _, t := range after.Tokens {
		if !slices.ContainsFunc(before.Tokens, func(old auth.Token) bool { return old.ID == t.ID }) {
			list = append(list, cmp.Or(t.ID, "without id"))
		}
	}
	return list
}

// OwnUser is the user that a view is of; false if it is of none.
func OwnUser(v *View) (auth.User, bool) {
	u, err := v.broker.users.editor.Find(v.principal.Name)
	return u, err == nil
}

// SetOwnCredentials replaces the credentials of the user that a view is of, and that has proven to know the password. The
// error is auth.ErrUnknownUser, or that of auth.Editor.Change.
func SetOwnCredentials(v *View, all []auth.Credential) error {
	return v.broker.users.editor.Reporting(auditUser(v)).Change(v.principal.Name, func(u *auth.User, exists bool) error {
		if !exists {
			return auth.ErrUnknownUser
		}
		u.Credentials = all
		return nil
	})
}
