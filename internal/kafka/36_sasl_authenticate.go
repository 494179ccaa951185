package kafka

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// SaslAuthenticate, versions 0 to 2: a message of the mechanism of SaslHandshake. After
// SASL_AUTHENTICATION_FAILED the connection is closed; the text does not say whether the user
// exists. A session ends when its user is deleted, or can do less than before, so that it has no lifetime.
func init() {
	register(api{
		key: 36, min: 0, max: 2, handle: typed(saslAuthenticate),
		doc: "A session has no lifetime: it ends with its user's permissions. A client may log in again on the same connection, as the same user.",
	})
}

func saslAuthenticate(c *call, req *kmsg.SASLAuthenticateRequest) {
	resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	answer, err := c.conn.authenticate(req.SASLAuthBytes)
	resp.SASLAuthBytes = answer
	if err != nil {
		c.conn.session.failed = fmt.Errorf("%w: %w", errLogin, err)
		resp.SASLAuthBytes = []byte{}
		resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, text(err)
		if own := code(err); own == kerr.IllegalSaslState.Code {
			resp.ErrorCode = own
		}
	}
	c.reply(resp)
}

var (
	errNoUsers = errors.New("this broker has no users, and is open to clients without SASL: `admin user add NAME` makes the first user")
	errPlain   = errors.New("a message of PLAIN has a user, a password, and no other user to act for")
)

// authenticate takes a message of a client that logs in, and returns what it is answered. The error is for the client.
func (c *conn) authenticate(message []byte) ([]byte, error) {
	s, b := &c.session, c.server.broker
	switch {
	case s.mechanism == "":
		return nil, fmt.Errorf("%w: SaslHandshake comes first", kerr.IllegalSaslState)
	case !b.Users().Any():
		return nil, errNoUsers
	case s.exchange == nil:
		name, _, _ := parsePlain(message)
		claim := broker.Claim{User: name, By: "PLAIN"}
		id, err := b.Login(s.client, claim, c.quit, func(u *auth.Users) (auth.Identity, error) { return plainLogin(u, message, s.client) })
		if err != nil {
			return nil, err
		}
		return []byte{}, c.loggedIn(id)
	}
	answer, id, err := s.exchange.Step(message)
	switch {
	case err != nil:
		b.LoginFailed(s.client, broker.Claim{User: s.exchange.Claimed(), By: s.mechanism}, c.quit)
	case id.Name != "":
		err = c.loggedIn(id)
	}
	return answer, err
}

func plainLogin(u *auth.Users, message []byte, by broker.Client) (auth.Identity, error) {
	name, password, err := parsePlain(message)
	if err != nil {
		return auth.Identity{}, err
	}
	return u.Password(name, password, by.Applicant())
}

// parsePlain reads a message of PLAIN: a user to act for, NUL, a user, NUL, and its password.
func parsePlain(message []byte) (name, password string, err error) {
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return "", "", errPlain
	}
	return string(parts[1]), string(parts[2]), nil
}

// loggedIn ends a log-in. One on a connection that is in use is of the same user.
func (c *conn) loggedIn(id auth.Identity) error {
	s := &c.session
	s.mechanism, s.exchange = "", nil
	before := s.identity.Load()
	switch {
	case before == nil:
		c.logIn(id)
	case before.Name != id.Name:
		return fmt.Errorf("this connection is that of user %q, and user %q can't take it over: open another one", before.Name, id.Name)
	default:
		s.identity.Store(&id)
	}
	return nil
}
