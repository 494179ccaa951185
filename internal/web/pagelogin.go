package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

const loginPath = "/login"

// loginOperations are the form, and the end of a session.
func loginOperations() []operation {
	return []operation{
		{path: loginPath, params: []param{{name: "to", about: "the path of the view that is shown next"}, doneParam}, audience: forAnyone, serve: showLogin},
		{method: http.MethodPost, path: loginPath, audience: forAnyone, serve: postLogin},
		{method: http.MethodPost, path: "/logout", audience: forAnyone, serve: postLogout},
	}
}

// A loginView is the form.
type loginView struct {
	To      string // where it leads
	Name    string // that was typed
	Problem string
	Open    bool // there are no users: nobody needs to log in
	Private bool // passwords are taken here
}

// destination is the path that the form leads to: one of this broker, whatever a link says.
func destination(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f }) || u.Path == loginPath {
		return "/"
	}
	return to
}

func showLogin(c *call) error {
	return showForm(c, http.StatusOK, loginView{To: destination(c.query.Get("to"))})
}

func showForm(c *call, status int, v loginView) error {
	v.Open, v.Private = !c.server.broker.Users().Any(), c.conn.client.IsPrivate
	return show(c, status, "login", view{Title: "Log in", Live: "-", Data: v})
}

// postLogin begins a session with a secret that nobody knew before: what the browser has sent as a cookie ends.
func postLogin(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	form := loginView{To: destination(c.r.PostForm.Get("to")), Name: field(c, "user")}
	if !c.server.broker.Users().Any() {
		return showForm(c, http.StatusOK, form)
	}
	id, err := c.server.byPassword(c.conn.client, form.Name, c.r.PostForm.Get("password"), c.r.Context().Done())
	if errors.Is(err, broker.ErrNotPrivate) || errors.Is(err, auth.ErrUnauthenticated) {
		p := toProblem(err)
		form.Problem = p.Detail
		if errors.Is(err, auth.ErrUnauthenticated) {
			form.Problem = "The user or the password is wrong."
			c.w.Header().Set("WWW-Authenticate", `Bearer realm="mbus"`) // for which no browser shows a dialog
		}
		return showForm(c, p.Status, form)
	} else if err != nil {
		return err
	}
	c.server.sessions.end(cookieOf(c))
	setCookie(c, c.server.sessions.begin(id, time.Now()))
	c.server.conns.Admitted(c.conn.net)
	c.w.Header().Set("Location", form.To)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// postLogout ends the session. What goes on with it on other connections ends within a second.
func postLogout(c *call) error {
	c.server.sessions.end(cookieOf(c))
	setCookie(c, "")
	c.leaveBody()
	return redirect(c, loginPath, "You have logged out.")
}
