package kafka

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// A session is the log-in of a connection, whose goroutine uses it. Any goroutine may read the identity.
type session struct {
	client    broker.Client
	began     time.Time
	identity  atomic.Pointer[auth.Identity] // with which requests are handled; nil before the first one
	mechanism string                        // of the log-in that has begun; "" for none
	exchange  *auth.Exchange                // of SCRAM
	failed    error                         // ends the connection after the response
}

func newSession(nc tcpserver.Conn) session {
	return session{client: broker.NewClient(nc), began: time.Now()}
}

// errLogin is why a connection is closed whose client has not logged in, or could not.
var errLogin = errors.New("the client has not logged in")

// admit says why a request may not be handled, before it is read. As long as there are no users a client needs
// no log-in, and with the certificate of a user it has done so. What is not for a log-in is
// refused while one is going on.
func (c *conn) admit(key int16) error {
	s := &c.session
	switch {
	case key == int16(kmsg.SASLHandshake), key == int16(kmsg.SASLAuthenticate):
		return nil
	case s.mechanism != "":
		return fmt.Errorf("%w: it sends %s before its log-in has ended", errLogin, kmsg.NameForKey(key))
	case key == int16(kmsg.ApiVersions), s.identity.Load() != nil:
		return nil
	case !c.server.broker.Users().Any():
		c.logIn(auth.Identity{})
		return nil
	case s.client.Certificate == "":
		broker.AuditRefused(c.view, kmsg.NameForKey(key))
		return fmt.Errorf("%w: it sends %s, and takes security.protocol=SASL_SSL", errLogin, kmsg.NameForKey(key))
	}
	id, err := c.server.broker.Login(s.client, broker.Claim{User: s.client.Certificate, By: "certificate"}, c.quit, func(u *auth.Users) (auth.Identity, error) {
		return u.Certificate(s.client.Certificate)
	})
	if err != nil {
		return fmt.Errorf("%w: there is no user %q, as its certificate has it", errLogin, s.client.Certificate)
	}
	c.logIn(id)
	return nil
}

// logIn has requests handled as those of a user, or of a client for which no log-in is needed.
func (c *conn) logIn(id auth.Identity) {
	c.view = c.server.broker.As(broker.NewPrincipal(id, c.session.client))
	c.session.identity.Store(&id)
	c.server.conns.Admitted(c.net)
}

// errEnded is why EndInvalid closes a connection.
var errEnded = errors.New("its log-in is not valid any more, or takes too long")

// EndInvalid resets the connections whose users can't do any more what they could when they logged in, and those that
// have not logged in within broker.Limits.RequestTime. Any goroutine may call it; it is called when users have changed,
// and each second.
func (s *Server) EndInvalid() { s.endInvalid(time.Now()) }

func (s *Server) endInvalid(now time.Time) {
	var over []*conn
	s.conns.Each(func(c *conn) {
		if s.isOver(&c.session, now) {
			over = append(over, c)
		}
	})
	for _, c := range over {
		c.net.Abort()
		c.abort(errEnded)
	}
}

func (s *Server) isOver(of *session, now time.Time) bool {
	users := s.broker.Users()
	if id := of.identity.Load(); id != nil {
		return !users.IsValid(*id, now)
	}
	return users.Any() && now.Sub(of.began) > s.broker.Limits.RequestTime
}
