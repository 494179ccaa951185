package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// A session is the log-in of a browser. It is kept in memory only, and so ends with the broker.
type session struct {
	identity auth.Identity
	until    time.Time
	ended    atomic.Bool
}

func (s *session) isValid(now time.Time) bool { return !s.ended.Load() && now.Before(s.until) }

// Sessions are all of them. Any goroutine may call the methods.
type sessions struct {
	mu  sync.Mutex
	all map[sessionKey]*session
}

// A sessionKey is the hash of the secret in a cookie.
type sessionKey [sha256.Size]byte

func newSessions() *sessions { return &sessions{all: make(map[sessionKey]*session)} }

// begin makes a session, and the secret for the browser's cookie. Where there are too many, the oldest one ends.
func (a *sessions) begin(id auth.Identity, now time.Time) (secret string) {
	random := make([]byte, broker.SessionBytes)
	rand.Read(random) // which never fails
	secret = base64.RawURLEncoding.EncodeToString(random)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endOldest(broker.SessionsOfUser, func(s *session) bool { return s.identity.Name == id.Name })
	a.endOldest(broker.Sessions, func(*session) bool { return true })
	a.all[sha256.Sum256([]byte(secret))] = &session{identity: id, until: now.Add(broker.SessionTime)}
	return secret
}

// endOldest ends the oldest one of some sessions, if there are as many as there may be. The caller holds mu.
func (a *sessions) endOldest(most int, isOne func(*session) bool) {
	var oldest sessionKey
	n := 0
	for key, s := range a.all {
		if !isOne(s) {
			continue
		}
		if n++; n == 1 || s.until.Before(a.all[oldest].until) {
			oldest = key
		}
	}
	if n >= most {
		a.remove(oldest)
	}
}

// remove ends a session. The caller holds mu.
func (a *sessions) remove(key sessionKey) {
	if s := a.all[key]; s != nil {
		s.ended.Store(true)
		delete(a.all, key)
	}
}

// find is the session of a secret; nil if there is none.
func (a *sessions) find(secret string, users *auth.Users, now time.Time) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.all[sha256.Sum256([]byte(secret))]
	if s == nil || !s.isValid(now) || !users.IsValid(s.identity, now) {
		return nil
	}
	return s
}

// end ends the session of a secret, if there is one.
func (a *sessions) end(secret string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(sha256.Sum256([]byte(secret)))
}

func (a *sessions) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all)
}

// sweep ends those that are not valid any more.
func (a *sessions) sweep(users *auth.Users, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, s := range a.all {
		if !s.isValid(now) || !users.IsValid(s.identity, now) {
			a.remove(key)
		}
	}
}

// Names of the cookie. Browsers take the first one over TLS only, from the host itself, for all of its paths, so
// that nobody else can set it.
const (
	cookieSecure = "__Host-mbus"
	cookiePlain  = "mbus"
)

// cookieSuffix tells brokers on one host apart, whose cookies browsers send to each of them.
func cookieSuffix(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil || port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return ""
	}
	return "-" + port
}

// cookieOf is the one of the page in the request; "" if there is none. From another machine only the one that nobody
// else can set counts, and none where others may read it.
func cookieOf(c *call) (secret string) {
	if len(c.r.Header["Cookie"]) == 0 || !c.conn.client.IsPrivate {
		return ""
	}
	names := []string{cookieSecure, cookiePlain}
	if !isFromHere(c) {
		names = names[:1]
	}
	for _, name := range names {
		if k, err := c.r.Cookie(name + cookieSuffix(c.r)); err == nil {
			return k.Value
		}
	}
	return ""
}

// isFromHere reports whether the client, which may be a proxy, is on this machine.
func isFromHere(c *call) bool { return c.conn.client.Address.Addr().Unmap().IsLoopback() }

// sessionOf is that of the request's cookie; nil for none.
func sessionOf(c *call) *session {
	secret := cookieOf(c)
	if secret == "" {
		return nil
	}
	return c.server.sessions.find(secret, c.server.broker.Users(), time.Now())
}

// setCookie gives the browser a cookie; "" takes it away. A browser that reaches the page over TLS, if only to a
// proxy, says so in the origin of the form.
func setCookie(c *call, secret string) {
	k := &http.Cookie{
		Name: cookiePlain, Value: secret, Path: "/", MaxAge: int(broker.SessionTime / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if !isFromHere(c) || strings.HasPrefix(c.r.Header.Get("Origin"), "https://") {
		k.Name, k.Secure = cookieSecure, true
	}
	if k.Name += cookieSuffix(c.r); secret == "" {
		k.MaxAge = -1
	}
	http.SetCookie(c.w, k)
}
