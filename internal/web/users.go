package web

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/units"
)

// userOperations look at users, and change them.
func userOperations() []operation {
	const one = "/users/{user}"
	grant := func(id, path, summary string, change func(*auth.User, []auth.Permission)) operation {
		return operation{
			id: id, method: http.MethodPost, path: one + path, tag: "Users", summary: summary,
			bodies: []string{typeJSON}, body: permissionList{}, answers: asJSON("the user as it is now", userDetails{}), changes: true,
			serve: func(c *call) error { return changePermissions(c, change) },
		}
	}
	return []operation{
		{
			id: "listUsers", method: http.MethodGet, path: "/users", tag: "Users",
			summary: "The users, by name", params: []param{paramAfter, {name: "limit", about: "users at most, from 1; all if not given", kind: "integer", example: "100"}},
			answers: asJSON("the users", userList{}), serve: listUsers,
		},
		{
			id: "getUser", method: http.MethodGet, path: one, tag: "Users",
			summary: "A user. Each user may look at itself.",
			answers: asJSON("the user", userDetails{}), serve: getUser,
		},
		{
			id: "putUser", method: http.MethodPut, path: one, tag: "Users",
			summary: "Makes a user, or replaces its password. Users may replace their own, with the old one.",
			bodies:  []string{typeJSON}, body: newSecret{},
			answers: append(asJSON("the user, whose password was replaced", userDetails{}),
				answer{status: http.StatusCreated, types: []string{typeJSON}, about: "the user was made, and is on disk", body: userDetails{}}),
			changes: true, serve: putUser,
		},
		{
			id: "deleteUser", method: http.MethodDelete, path: one, tag: "Users",
			summary: "Deletes a user for good. Its connections end within a second.",
			params:  []param{paramExecute}, answers: asJSON("the user that was, or would be, deleted", userDeletion{}),
			changes: true, serve: deleteUser,
		},
		grant("grantPermissions", "/grant", "Adds permissions", func(u *auth.User, all []auth.Permission) { u.Grant(all...) }),
		grant("revokePermissions", "/revoke", "Takes operations away from permissions with the same patterns", func(u *auth.User, all []auth.Permission) { u.Revoke(all...) }),
		{
			id: "addToken", method: http.MethodPost, path: one + "/tokens", tag: "Users",
			summary: "Makes a token, which is shown this once",
			bodies:  []string{typeJSON}, body: tokenWish{},
			answers: []answer{{status: http.StatusCreated, types: []string{typeJSON}, about: "the token", body: newToken{}}},
			changes: true, serve: addToken,
		},
		{
			id: "removeToken", method: http.MethodDelete, path: one + "/tokens/{token}", tag: "Users",
			summary: "Removes a token by its id", answers: asJSON("the user as it is now", userDetails{}),
			changes: true, serve: removeToken,
		},
	}
}

// userDetails are what is shown of a user: no secret, and no hash of one.
type userDetails struct {
	Name        string            `json:"name"`
	Created     time.Time         `json:"created"`
	Mechanisms  []auth.Mechanism  `json:"mechanisms"` // for which there is a password
	Permissions []auth.Permission `json:"permissions"`
	Tokens      []shownToken      `json:"tokens"`
}

type shownToken struct {
	ID      string     `json:"id"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

type userList struct {
	Users []userDetails `json:"users"`
	Next  string        `json:"next,omitempty"` // for parameter after, if there are more
}

type userDeletion struct {
	plan
	userDetails
}

// A newSecret is a password, or what is kept of one. Without either the user that is made has tokens and certificates
// only.
type newSecret struct {
	Password    string            `json:"password,omitempty"`
	Old         string            `json:"old,omitempty"` // for users who may not change others
	Credentials []auth.Credential `json:"credentials,omitempty"`
}

type permissionList struct {
	Permissions []auth.Permission `json:"permissions"`
}

type tokenWish struct {
	Expires string `json:"expires,omitempty"` // a duration; never if not given
}

type newToken struct {
	Token string `json:"token"`
	shownToken
}

func describeUser(u *auth.User) userDetails {
	d := userDetails{Name: u.Name, Created: u.Created, Mechanisms: []auth.Mechanism{}, Permissions: u.Permissions, Tokens: []shownToken{}}
	for _, c := range u.Credentials {
		d.Mechanisms = append(d.Mechanisms, c.Mechanism)
	}
	if d.Permissions == nil {
		d.Permissions = []auth.Permission{}
	}
	for _, t := range u.Tokens {
		d.Tokens = append(d.Tokens, shownToken{t.ID, t.Created, t.Expires})
	}
	return d
}

// userCode is the code of an error about users; "" for others.
func userCode(err error) string {
	switch {
	case errors.Is(err, auth.ErrUnknownUser):
		return codeNotFound
	case errors.Is(err, auth.ErrInvalid):
		return codeBadRequest
	case errors.Is(err, auth.ErrLastUser):
		return codeConflict
	}
	return ""
}

// isSelf reports whether the client is the user of the path.
func isSelf(c *call) bool { return broker.PrincipalOf(c.view).Name == c.r.PathValue("user") }

// mentionedUser is the user of the path, whom the client may look at.
func mentionedUser(c *call) (auth.User, error) {
	if isSelf(c) {
		if u, found := broker.OwnUser(c.view); found {
			return u, nil
		}
	}
	users, err := c.view.UserEditor()
	if err != nil {
		return auth.User{}, err
	}
	return users.Find(c.r.PathValue("user"))
}

func listUsers(c *call) error {
	limit, err := c.number("limit", 1, math.MaxInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	users, err := c.view.UserEditor()
	if err != nil {
		return err
	}
	list := userList{Users: []userDetails{}}
	for _, u := range users.List() {
		if u.Name <= c.query.Get("after") {
			continue
		}
		if int64(len(list.Users)) == limit {
			list.Next = list.Users[limit-1].Name
			break
		}
		list.Users = append(list.Users, describeUser(&u))
	}
	return c.json(http.StatusOK, list)
}

func getUser(c *call) error {
	u, err := mentionedUser(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, describeUser(&u))
}

// changeUsers gives access to all users. The change may be that the client is not valid any more: then its connection is
// to live until it has the answer.
func changeUsers(c *call) (*auth.Editor, error) {
	users, err := c.view.UserEditor()
	if err == nil {
		c.conn.login.Store(nil)
	}
	return users, err
}

func putUser(c *call) error {
	var want newSecret
	if err := readJSON(c, &want); err != nil {
		return err
	}
	if want.Password != "" && want.Credentials != nil {
		return badRequest("the body: %q and %q exclude each other", "password", "credentials")
	}
	var users *auth.Editor
	var err error
	if isSelf(c) && !manages(c) {
		err = checkOwn(c, &want)
	} else {
		users, err = changeUsers(c)
	}
	if want.Password != "" && err == nil {
		want.Credentials, err = auth.NewCredentials(want.Password)
	}
	if err != nil {
		return err
	}
	return setSecret(c, users, want.Credentials)
}

// noSecret refuses to leave a user that exists without a password.
func noSecret(c *call) error {
	return badRequest("the body: user %q exists; it takes a new %q", c.r.PathValue("user"), "password")
}

// checkOwn finds out whether a user may replace its own password: it has a new one, and knows the old one, as in a log-in.
func checkOwn(c *call, want *newSecret) error {
	name := c.r.PathValue("user")
	switch {
	case want.Old == "":
		return badRequest("the body: user %q replaces its own password with the old one, as %q", name, "old")
	case want.Password == "" && len(want.Credentials) == 0:
		return noSecret(c)
	}
	_, err := c.server.byPassword(c.conn.client, name, want.Old, c.r.Context().Done())
	if errors.Is(err, auth.ErrUnauthenticated) {
		return &problem{Status: http.StatusForbidden, Code: codeDenied, Detail: "the old password is wrong"}
	}
	return err
}

// setSecret replaces the credentials of the user of the path; users is nil where that is the client itself.
func setSecret(c *call, users *auth.Editor, all []auth.Credential) error {
	name, status := c.r.PathValue("user"), http.StatusOK
	var now auth.User
	var err error
	if users == nil {
		c.conn.login.Store(nil)
		if err = broker.SetOwnCredentials(c.view, all); err == nil {
			now, _ = broker.OwnUser(c.view)
		}
	} else {
		err = users.Change(name, func(u *auth.User, exists bool) error {
			if !exists {
				status = http.StatusCreated
			} else if len(all) == 0 {
				return noSecret(c)
			}
			u.Credentials = all
			now = *u
			return nil
		})
	}
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		c.w.Header().Set("Location", "/users/"+url.PathEscape(name))
	}
	return c.json(status, describeUser(&now))
}

// changeUser changes the user of the path, and answers with it.
func changeUser(c *call, change func(*auth.User) error) (now auth.User, err error) {
	users, err := changeUsers(c)
	if err != nil {
		return now, err
	}
	name := c.r.PathValue("user")
	err = users.Change(name, func(u *auth.User, exists bool) error {
		if !exists {
			return notFound("%w %q", auth.ErrUnknownUser, name)
		}
		if err := change(u); err != nil {
			return err
		}
		now = *u
		return nil
	})
	return now, err
}

func changePermissions(c *call, change func(*auth.User, []auth.Permission)) error {
	var want permissionList
	if err := readJSON(c, &want); err != nil {
		return err
	}
	if len(want.Permissions) == 0 {
		return badRequest("the body has no permissions: it takes %s", `{"permissions":[{"operations":["publish"],"kind":"topic","pattern":"orders*"}]}`)
	}
	for _, p := range want.Permissions {
		if err := p.Check(); err != nil {
			return err
		}
	}
	now, err := changeUser(c, func(u *auth.User) error {
		change(u, want.Permissions)
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, describeUser(&now))
}

func addToken(c *call) error {
	var want tokenWish
	if err := readJSON(c, &want); err != nil {
		return err
	}
	var after time.Duration
	if want.Expires != "" {
		var err error
		if after, err = units.ParseDuration(want.Expires); err == nil && after <= 0 {
			err = errors.New("a duration above 0")
		}
		if err != nil {
			return badRequest("member %q: %w, not %q", "expires", err, want.Expires)
		}
	}
	var made newToken
	_, err := changeUser(c, func(u *auth.User) error {
		secret, t := u.AddToken(after)
		made = newToken{secret, shownToken{t.ID, t.Created, t.Expires}}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, made)
}

func removeToken(c *call) error {
	id := c.r.PathValue("token")
	now, err := changeUser(c, func(u *auth.User) error {
		if !u.RemoveToken(id) {
			return notFound("user %q has no token %q", u.Name, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, describeUser(&now))
}

func deleteUser(c *call) error {
	name := c.r.PathValue("user")
	users, err := changeUsers(c)
	if err != nil {
		return err
	}
	u, err := users.Find(name)
	if err != nil {
		return err
	}
	done := &userDeletion{userDetails: describeUser(&u)}
	done.do = func() error {
		return users.Delete(name)
	}
	return carryOut(c, http.StatusOK, done)
}
