package line

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// login begins the line with which a client logs in. No topic has a space.
const login = "AUTH "

var (
	errLogin = errors.New("AUTH takes a user and a password, or a token: AUTH USER PASSWORD or AUTH TOKEN, in a line before the request")
	errTwice = errors.New("AUTH stands in the first line only: this client has logged in")

	errNotLoggedIn = errors.New("log in first: a line AUTH USER PASSWORD, or AUTH TOKEN, stands before the request; the programs take -user and MBUS_PASSWORD, or MBUS_TOKEN")
)

// isLogin reports whether a line, or its beginning, is one of AUTH, however it is written: it has a secret, and may not be
// quoted as other lines are.
func isLogin(p []byte) bool {
	verb := len(login) - 1
	return len(p) > verb && bytes.EqualFold(p[:verb], []byte(login[:verb])) && (p[verb] == ' ' || p[verb] == '\t')
}

// parseLogin reads a line of AUTH, without its LF. user is "" with a token. The error has nothing of the line.
func parseLogin(line []byte) (user, secret string, err error) {
	rest, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\r")), []byte(login))
	user, secret, hasPassword := strings.Cut(string(rest), " ")
	switch {
	case ok && !hasPassword && auth.LooksLikeToken(user):
		return "", user, nil
	case ok && user != "" && secret != "":
		return user, secret, nil
	}
	return "", "", errLogin
}

// logIn has the client be the user of a line of AUTH.
func (c *conn) logIn(line []byte) error {
	user, secret, err := parseLogin(line)
	if err != nil {
		return &errorLine{"BADREQUEST", err}
	}
	if c.identity.Load() != nil {
		return &errorLine{"BADREQUEST", errTwice}
	}
	claim := broker.Claim{User: user, By: "PLAIN"}
	if user == "" {
		claim.By = "token"
	}
	client := broker.NewClient(c.net)
	return c.prove(client, claim, func(users *auth.Users) (auth.Identity, error) {
		if user == "" {
			return users.Token(secret, client.Local)
		}
		return users.Password(user, secret, client.Applicant())
	})
}

// prove finds out which user the client is. A failure takes its time, in which the connection holds no buffer.
func (c *conn) prove(client broker.Client, claim broker.Claim, by func(*auth.Users) (auth.Identity, error)) error {
	id, err := c.broker.Login(client, claim, c.server.conns.Stopped(), func(users *auth.Users) (auth.Identity, error) {
		id, err := by(users)
		if err != nil {
			c.in.Free()
		}
		return id, err
	})
	if err != nil {
		return denied(err)
	}
	c.identity.Store(&id)
	c.view = c.broker.As(broker.NewPrincipal(id, client))
	return nil
}

// denied is the answer to a log-in that has failed. A client that has not waited for its turn may try again.
func denied(err error) error {
	if errors.Is(err, auth.ErrLeft) {
		return &errorLine{"BUSY", err}
	}
	return &errorLine{"DENIED", err}
}

// admit sees that the client has logged in, if there are users. It needs no AUTH where its certificate names it.
func (c *conn) admit(r *request, publishes bool) error {
	if c.identity.Load() != nil {
		return nil
	}
	users, name := c.broker.Users(), c.net.CertificateName()
	if name != "" && users.Any() {
		return c.prove(broker.NewClient(c.net), broker.Claim{User: name, By: "certificate"}, func(users *auth.Users) (auth.Identity, error) {
			id, err := users.Certificate(name)
			if err != nil {
				err = fmt.Errorf("no user has the name in the certificate, %q", name)
			}
			return id, err
		})
	}
	c.identity.Store(new(auth.Identity))
	access := broker.Read
	switch {
	case publishes:
		access = broker.Write
	case r.admin != nil:
		access = broker.Describe
	}
	if users.Any() && c.view.Allow(access, broker.TopicResource, r.topic) != nil { // which adds it to the audit trail
		return &errorLine{"DENIED", errNotLoggedIn}
	}
	return nil
}

// EndInvalid resets the connections whose user has been deleted, can do less, or has another password than when it logged in,
// or whose token has ended; and with the first user those that have not logged in. Any goroutine may call it.
func (s *Server) EndInvalid() {
	users, now := s.broker.Users(), time.Now()
	s.conns.Each(func(c *conn) {
		if id := c.identity.Load(); id != nil && !users.IsValid(*id, now) {
			c.revoked.Store(true)
			c.net.Abort()
		}
	})
}
