package web

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// An audience says whom an operation serves, once there are users.
type audience int

const (
	forUsers  audience = iota // clients that have logged in
	forGuests                 // others, too, who see less
	forAnyone                 // all alike: it does not look at who they are
)

// A login is what a connection was admitted with, by its latest request.
type login struct {
	identity auth.Identity
	session  *session // of the page; nil for none
}

// isValid reports whether the client may go on.
func (l *login) isValid(users *auth.Users, now time.Time) bool {
	return users.IsValid(l.identity, now) && (l.session == nil || l.session.isValid(now))
}

// logIn finds the user of the request. From then on the view is that user's.
func logIn(c *call) error {
	if c.op.audience == forAnyone {
		return nil
	}
	who, err := whoSent(c)
	users := c.server.broker.Users()
	switch isGuest := users.Any() && who.identity.Name == ""; {
	case err != nil:
		return err
	case !isGuest:
		c.conn.login.Store(&who)
		c.server.conns.Admitted(c.conn.net)
	case c.op.audience == forUsers:
		broker.AuditRefused(c.view, cmp.Or(c.op.id, c.op.path))
		return errUnauthenticated
	}
	if who.identity.Name != "" {
		c.view = c.server.broker.As(broker.NewPrincipal(who.identity, c.conn.client))
	}
	return nil
}

// errUnauthenticated is for clients that have said nothing of who they are.
var errUnauthenticated = &problem{
	Status: http.StatusUnauthorized, Code: codeUnauthenticated,
	Detail: "this broker has users: log in with a name and a password (Basic), a token (Bearer) or a client certificate",
}

const codeUnauthenticated = "UNAUTHENTICATED"

// whoSent is the user that has sent the request: by what it says in the header, the cookie, or the certificate
// of the connection.
func whoSent(c *call) (who login, err error) {
	header := c.r.Header["Authorization"]
	if len(header) > 1 {
		return who, badRequest("header %q is there %d times", "Authorization", len(header))
	}
	if len(header) == 0 {
		if s := sessionOf(c); s != nil {
			return login{s.identity, s}, nil
		}
		header = []string{""}
	}
	who.identity, err = c.server.identify(c.conn, header[0], c.r.Context().Done())
	if len(header[0]) == 0 && c.op.audience == forGuests {
		err = nil // the name in its certificate is no user's
	}
	return who, err
}

// identify is the user of the header Authorization or, where it is "", of the client's certificate. Without users
// only the operator is one: other passwords may be those of a proxy.
func (s *Server) identify(c *conn, header string, cancel <-chan struct{}) (auth.Identity, error) {
	users, client := s.broker.Users(), c.client
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimLeft(secret, " ")
	isBearer := strings.EqualFold(scheme, "Bearer")
	switch {
	case !users.Any():
		if id, err := users.Token(secret, client.Local); err == nil && isBearer && client.IsPrivate {
			return id, nil
		}
		return auth.Identity{}, nil
	case header == "" && client.Certificate == "":
		return auth.Identity{}, nil
	case header == "":
		id, err := s.broker.Login(client, broker.Claim{User: client.Certificate, By: "certificate"}, cancel, func(users *auth.Users) (auth.Identity, error) {
			return users.Certificate(client.Certificate)
		})
		if err != nil {
			err = fmt.Errorf("%w: no user has the name %q of the client certificate", err, client.Certificate)
		}
		return id, err
	case isBearer:
		return s.broker.Login(client, broker.Claim{By: "token"}, cancel, func(users *auth.Users) (auth.Identity, error) { return users.Token(secret, client.Local) })
	case strings.EqualFold(scheme, "Basic"):
		name, password, err := parseBasic(secret)
		if err != nil {
			return auth.Identity{}, err
		}
		if c.takeWrong() == header {
			return s.broker.Login(client, passwordClaim(name), cancel, func(*auth.Users) (auth.Identity, error) { return auth.Identity{}, auth.ErrUnauthenticated })
		}
		return s.byPassword(client, name, password, cancel)
	}
	return auth.Identity{}, &problem{Status: http.StatusUnauthorized, Code: codeUnauthenticated, Detail: "header Authorization: it takes Basic or Bearer"}
}

// byPassword is the user of a name and a password.
func (s *Server) byPassword(client broker.Client, name, password string, cancel <-chan struct{}) (auth.Identity, error) {
	return s.broker.Login(client, passwordClaim(name), cancel, func(users *auth.Users) (auth.Identity, error) {
		return users.Password(name, password, client.Applicant())
	})
}

func passwordClaim(name string) broker.Claim { return broker.Claim{User: name, By: "PLAIN"} }

// identifyPlain is identify for plain requests. It reports false if identify is to answer: failures count for nothing here. It
// notes a password that is wrong, so that it is computed once.
func (s *Server) identifyPlain(c *conn, header string) (id auth.Identity, ok bool) {
	users, client := s.broker.Users(), c.client
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimLeft(secret, " ")
	var err error
	switch {
	case client.IsPrivate && strings.EqualFold(scheme, "Bearer"):
		id, err = users.Token(secret, client.Local)
		if err != nil && !users.Any() {
			err = nil
		}
	case !users.Any():
	case header == "" && client.Certificate != "":
		id, err = users.Certificate(client.Certificate)
	case client.IsPrivate && strings.EqualFold(scheme, "Basic"):
		var name, password string
		if name, password, err = parseBasic(secret); err != nil {
			break
		}
		if id, err = users.Password(name, password, client.Applicant()); errors.Is(err, auth.ErrUnauthenticated) {
			c.wrong = header
		}
	default:
		return id, false
	}
	return id, err == nil
}

// takeWrong is the header Authorization that identifyPlain has just found to be wrong; "" for none.
func (c *conn) takeWrong() (header string) {
	header, c.wrong = c.wrong, ""
	return header
}

// parseBasic reads the name and the password of RFC 7617. Errors don't quote it, because they may be logged.
func parseBasic(text string) (name, password string, err error) {
	p, err := base64.StdEncoding.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which package base64 passes over
		return "", "", badRequest("header Authorization: what follows Basic is not base64")
	}
	name, password, found := strings.Cut(string(p), ":")
	if !found {
		return "", "", badRequest("header Authorization: what follows Basic has no colon between name and password")
	}
	return name, password, nil
}

// loginProblem is the problem of a log-in that has failed; nil for other errors.
func loginProblem(err error) *problem {
	var denied *broker.DeniedError
	switch {
	case errors.Is(err, auth.ErrUnauthenticated), errors.As(err, &denied) && denied.Principal.Name == "":
		return &problem{Status: http.StatusUnauthorized, Code: codeUnauthenticated, Detail: err.Error()}
	case errors.Is(err, broker.ErrNotPrivate):
		return &problem{
			Status: http.StatusForbidden, Code: codeDenied,
			Detail: err.Error() + "; others may have read what was sent just now: change that password, or remove that token",
		}
	}
	return nil
}

// challenge says how to log in. A browser would show a dialog for Basic, whose password nobody can take back: it
// gets the page's form.
func challenge(c *call) {
	h := c.w.Header()
	if !isBrowser(c.r) {
		h.Add("WWW-Authenticate", `Basic realm="mbus", charset="UTF-8"`)
	}
	h.Add("WWW-Authenticate", `Bearer realm="mbus"`)
}

// isBrowser reports whether a request comes from a browser, by what all browsers send.
func isBrowser(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") != "" || strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

// isNavigation reports whether a browser would show the answer in its window.
func isNavigation(r *http.Request) bool {
	switch mode := r.Header.Get("Sec-Fetch-Mode"); {
	case mode != "":
		return mode == "navigate"
	default:
		return isBrowser(r) && strings.Contains(r.Header.Get("Accept"), "text/html")
	}
}

// leadToForm leads a browser to the log-in form, from which it comes back to the same place. Behind a link on another site
// browsers send no cookie: then the same address is asked for again, by a page of the broker.
func leadToForm(c *call) {
	to := loginPath
	c.leaveBody()
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		here := destination(c.r.URL.RequestURI())
		if c.r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			c.w.Header().Set("Content-Type", typeHTML)
			_ = ui().views.ExecuteTemplate(c.w, "again", here) // the client may have gone
			return
		}
		if here != "/" {
			to += "?to=" + url.QueryEscape(here)
		}
	}
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(http.StatusSeeOther)
}

// EndInvalid ends the sessions and resets the connections of users who are not valid any more. Any goroutine may call it.
func (s *Server) EndInvalid() {
	users, now := s.broker.Users(), time.Now()
	s.sessions.sweep(users, now)
	s.conns.Each(func(c *conn) {
		if l := c.login.Load(); l != nil && !l.isValid(users, now) {
			c.net.Abort()
		}
	})
}
