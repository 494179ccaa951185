package web

import (
	"net/http"
	"strings"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/units"
)

var userListParams = []param{
	{name: "match", about: "only names that contain this"},
	{name: "after", about: "only names behind this one"},
}

// A userRow is a user in the list.
type userRow struct {
	Name        string
	Created     int64 // milliseconds since 1970
	LogsIn      string
	Permissions int
	Tokens      int
}

type usersView struct {
	Rows         []userRow
	Match, After string
	Next         string // the last name, if there are more
}

func newUserRow(u *auth.User) userRow {
	return userRow{u.Name, u.Created.UnixMilli(), logsIn(u), len(u.Permissions), len(u.Tokens)}
}

// logsIn is how a user can log in, beside a certificate.
func logsIn(u *auth.User) string {
	var ways []string
	if len(u.Credentials) > 0 {
		ways = append(ways, "password")
	}
	if len(u.Tokens) > 0 {
		ways = append(ways, "token")
	}
	if ways == nil {
		return "certificate only"
	}
	return strings.Join(ways, ", ")
}

func showUsers(c *call) error {
	users, err := c.view.UserEditor()
	if err != nil {
		return err
	}
	d := usersView{Match: c.query.Get("match"), After: c.query.Get("after")}
	for _, u := range users.List() {
		if u.Name <= d.After || !strings.Contains(u.Name, d.Match) {
			continue
		}
		if len(d.Rows) == broker.PageRows {
			d.Next = d.Rows[len(d.Rows)-1].Name
			break
		}
		d.Rows = append(d.Rows, newUserRow(&u))
	}
	return show(c, http.StatusOK, "users", view{Title: "Users", Nav: "users", Live: "-", Data: d})
}

// A permissionRow is a permission, and the rest of a command about it.
type permissionRow struct{ Operations, Kind, Pattern, Args string }

type tokenRow struct {
	ID               string
	Created, Expires int64 // milliseconds since 1970; 0 for never
	IsPast           bool
}

type userView struct {
	Row         userRow
	Permissions []permissionRow
	Tokens      []tokenRow
	IsCut       bool // a list has only its first entries
}

// A mayDo is what the client may do with a topic or a group: a view has nothing else.
type mayDo struct{ Read, Publish, Change bool }

func whatMayDo(c *call, kind broker.ResourceKind, name string) mayDo {
	may := func(access broker.Access) bool { return broker.May(c.view, access, kind, name) }
	return mayDo{may(broker.Read), may(broker.Write), may(broker.Alter)}
}

// manages reports whether the client may change the broker as a whole, and its users.
func manages(c *call) bool { return broker.May(c.view, broker.Alter, broker.ClusterResource, "") }

// mayChangeSome reports whether the client may make or change topics of some names.
func mayChangeSome(c *call) bool {
	return manages(c) || c.server.broker.Users().MaySome(broker.PrincipalOf(c.view).Name, auth.Admin, auth.Topic)
}

// showUser shows a user, and the commands that change it. Each user may look at itself.
func showUser(c *call) error {
	u, err := mentionedUser(c)
	if err != nil {
		return err
	}
	d := userView{Row: newUserRow(&u)}
	d.IsCut = max(len(u.Permissions), len(u.Tokens)) > broker.PageRows
	for _, p := range u.Permissions[:min(len(u.Permissions), broker.PageRows)] {
		row := permissionRow{p.Operations.String(), string(p.Kind), p.Pattern, p.Operations.String() + " " + units.Quoted(p.Pattern)}
		if p.Kind == auth.Group {
			row.Args = p.Operations.String() + " -group " + units.Quoted(p.Pattern)
		}
		d.Permissions = append(d.Permissions, row)
	}
	for _, t := range u.Tokens[:min(len(u.Tokens), broker.PageRows)] {
		row := tokenRow{ID: t.ID, Created: t.Created.UnixMilli()}
		if t.Expires != nil {
			row.Expires, row.IsPast = t.Expires.UnixMilli(), !time.Now().Before(*t.Expires)
		}
		d.Tokens = append(d.Tokens, row)
	}
	return show(c, http.StatusOK, "user", view{Title: "User " + u.Name, Nav: "users", Live: "-", Data: d})
}
