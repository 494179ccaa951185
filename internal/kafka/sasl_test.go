package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// users changes the bus's users.
func (b *bus) users() *auth.Editor {
	b.t.Helper()
	users, err := b.broker.UserEditor()
	if err != nil {
		b.t.Fatal(err)
	}
	return users
}

// change changes a user.
func (b *bus) change(name string, change func(*auth.User)) {
	b.t.Helper()
	if err := b.users().Change(name, func(u *auth.User, _ bool) error { change(u); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// user makes a user with a password, who may do these operations with the topics and groups of a pattern.
func (b *bus) user(name, password string, o auth.Operation, pattern string) {
	b.t.Helper()
	credentials, err := auth.NewCredentials(password)
	if err != nil {
		b.t.Fatal(err)
	}
	b.change(name, func(u *auth.User) {
		u.SetCredentials(credentials...)
		if o != 0 {
			u.Grant(auth.Permission{Operations: o, Kind: auth.Topic, Pattern: pattern})
		}
		if o&^auth.Publish != 0 {
			u.Grant(auth.Permission{Operations: o &^ auth.Publish, Kind: auth.Group, Pattern: pattern})
		}
	})
}

const anything = auth.Consume | auth.Publish | auth.Admin

// mechanisms are those of franz-go's client.
func mechanisms(name, password string) []sasl.Mechanism {
	s := scram.Auth{User: name, Pass: password}
	return []sasl.Mechanism{plain.Auth{User: name, Pass: password}.AsMechanism(), s.AsSha256Mechanism(), s.AsSha512Mechanism()}
}

func isSecure(*tls.Config) {}

// secured is a franz-go client that logs in.
func (b *bus) secured(m sasl.Mechanism, opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	if opts = append(opts, kgo.SASL(m)); b.tls != nil {
		opts = append(opts, kgo.DialTLSConfig(b.tls))
	}
	return b.franz(opts...)
}

// logIn logs in with a mechanism; the error is that of the broker.
func (c *client) logIn(m sasl.Mechanism) error {
	c.t.Helper()
	session, message, err := m.Authenticate(context.Background(), "localhost")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := kerr.ErrorForCode(c.handshake(m.Name()).ErrorCode); err != nil {
		return err
	}
	for done := false; ; {
		resp := c.authenticate(message)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		if done {
			return nil
		}
		if done, message, err = session.Challenge(resp.SASLAuthBytes); err != nil {
			c.t.Fatal(err)
		}
		if done {
			return nil
		}
	}
}

func (c *client) mustLogIn(m sasl.Mechanism) {
	c.t.Helper()
	if err := c.logIn(m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) handshake(mechanism string) *kmsg.SASLHandshakeResponse {
	c.t.Helper()
	return ask[*kmsg.SASLHandshakeResponse](c, &kmsg.SASLHandshakeRequest{Version: 1, Mechanism: mechanism})
}

func (c *client) authenticate(message []byte) *kmsg.SASLAuthenticateResponse {
	c.t.Helper()
	return ask[*kmsg.SASLAuthenticateResponse](c, &kmsg.SASLAuthenticateRequest{Version: 2, SASLAuthBytes: message})
}

func TestFranzLogsInWithEveryMechanism(t *testing.T) {
	for name, secure := range map[string]func(*tls.Config){"TCP": nil, "TLS": isSecure} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{secure: secure})
			b.user("alice", "secret", anything, "*")
			for _, m := range mechanisms("alice", "secret") {
				cl := b.secured(m, kgo.ConsumeTopics(m.Name()), kgo.ConsumerGroup("g"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
				if err := cl.ProduceSync(patient(t), &kgo.Record{Topic: m.Name(), Value: []byte("hello")}).FirstErr(); err != nil {
					t.Fatalf("%s: %v", m.Name(), err)
				}
				if got := poll(t, cl, 1); string(got[0].Value) != "hello" {
					t.Errorf("%s: read %q", m.Name(), got[0].Value)
				}
				cl.Close()
			}
			for _, m := range []sasl.Mechanism{mechanisms("alice", "wrong")[1], mechanisms("mallory", "secret")[2]} {
				if err := b.dial().logIn(m); !errors.Is(err, kerr.SaslAuthenticationFailed) {
					t.Errorf("wrong, by %s: %v", m.Name(), err)
				}
			}
		})
	}
}

// A wrong user has the same response as a wrong password.
func TestAFailedLogInSaysNothingOfTheUser(t *testing.T) {
	b := start(t, setup{})
	b.user("alice", "secret", anything, "*")
	texts := make(map[string]bool)
	for _, name := range []string{"alice", "mallory"} {
		c := b.dial()
		c.handshake("PLAIN")
		resp := c.authenticate([]byte("\x00" + name + "\x00wrong"))
		if resp.ErrorCode != kerr.SaslAuthenticationFailed.Code || resp.ErrorMessage == nil || len(resp.SASLAuthBytes) > 0 {
			t.Fatalf("%+v", resp)
		}
		texts[*resp.ErrorMessage] = true
		c.mustBeClosed()
	}
	if len(texts) != 1 {
		t.Errorf("the texts differ: %v", texts)
	}
	c := b.dial()
	c.handshake("SCRAM-SHA-512")
	if resp := c.authenticate([]byte("n,,n=mallory,r=x")); resp.ErrorCode != 0 || !strings.Contains(string(resp.SASLAuthBytes), ",i=16384") {
		t.Errorf("a user who does not exist: %+v", resp)
	}
	c = b.dial()
	c.handshake("SCRAM-SHA-512")
	if c.authenticate([]byte("n,,n=alice,r=x")); c.authenticate([]byte("c=biws,r=x,p=")).ErrorCode != kerr.SaslAuthenticationFailed.Code {
		t.Error("a proof that is none is not refused")
	}
	audit := b.book.Lines("msg=audit", "log in", "outcome=refused")
	if len(audit) != 3 || !strings.Contains(audit[0], "by=PLAIN") || !strings.Contains(audit[0], "name=alice") ||
		strings.Contains(audit[1], "mallory") || !strings.Contains(audit[2], "by=SCRAM-SHA-512") || !strings.Contains(audit[2], "name=alice") {
		t.Errorf("the audit trail has %q", audit)
	}
}

func TestBeforeALogInThereIsNothingButALogIn(t *testing.T) {
	b := start(t, setup{})
	b.user("alice", "secret", anything, "*")
	b.topic("orders", 1)
	for key, g := range guarded() {
		c := b.dial()
		ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest())
		c.send(g.req)
		if _, err := c.tryReceive(g.req); err == nil {
			t.Errorf("%s has a response", kmsg.NameForKey(key))
		}
	}
	if closed := b.book.Lines("closing a Kafka client's connection", "has not logged in"); len(closed) != len(guarded()) {
		t.Errorf("%d lines of the log, want %d", len(closed), len(guarded()))
	} else if !strings.Contains(closed[0], "level=DEBUG") {
		t.Errorf("any client fills the log: %s", closed[0])
	}
	if _, denied := b.broker.Refused(); denied != int64(len(guarded())) || len(b.book.Lines("msg=audit", "client=127.0.0.1:", "outcome=refused")) == 0 {
		t.Errorf("the audit trail has counted %d refusals, want %d", denied, len(guarded()))
	}
	c := b.dial()
	c.handshake("SCRAM-SHA-256")
	c.send(kmsg.NewPtrMetadataRequest())
	c.mustBeClosed()
}

// A frame that is too large, or not for a log-in, is refused by its header.
func TestFramesBeforeALogInAreSmall(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 1 << 20 }})
	b.user("alice", "secret", anything, "*")
	for _, header := range [][]byte{
		{0, 1, 0, 1, 0, 36, 0, 2, 0, 0, 0, 1}, // SaslAuthenticate of 64 KiB and 1 byte
		{0, 1, 0, 1, 0, 17, 0, 1, 0, 0, 0, 1},
		{0, 1, 0, 1, 0, 18, 0, 3, 0, 0, 0, 1},
		{6, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1}, // Produce of 96 MiB
		{0, 0, 0, 20, 0, 3, 0, 9, 0, 0, 0, 1},
	} {
		c := b.dial()
		if _, err := c.Write(header); err != nil {
			t.Fatal(err)
		}
		c.mustBeClosed()
	}
	b.mustBeFree()
}

// mustBeFree fails the test unless no memory of the budget is taken.
func (b *bus) mustBeFree() {
	b.t.Helper()
	if !b.free(int(b.broker.Limits.MaxInFlight)) {
		b.t.Error("memory of the budget is taken")
	}
}

func TestALogInThatIsNoneIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.user("alice", "secret", anything, "*")
	c := b.dial()
	if resp := c.handshake("GSSAPI"); resp.ErrorCode != kerr.UnsupportedSaslMechanism.Code ||
		!slices.Equal(resp.SupportedMechanisms, []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"}) {
		t.Errorf("GSSAPI: %+v", resp)
	}
	c.mustBeClosed()
	c = b.dial()
	if resp := c.authenticate([]byte("\x00alice\x00secret")); resp.ErrorCode != kerr.IllegalSaslState.Code {
		t.Errorf("without a handshake: %+v", resp)
	}
	c.mustBeClosed()
	c = b.dial()
	c.handshake("PLAIN")
	if resp := c.handshake("PLAIN"); resp.ErrorCode != kerr.IllegalSaslState.Code {
		t.Errorf("two handshakes: %+v", resp)
	}
	c.mustBeClosed()
	c = b.dial()
	if resp := ask[*kmsg.SASLHandshakeResponse](c, &kmsg.SASLHandshakeRequest{Version: 0, Mechanism: "PLAIN"}); resp.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("version 0: %+v", resp)
	}
	c.mustBeClosed()
	for _, message := range []string{"", "bob\x00alice\x00secret", "\x00alice\x00secret\x00"} {
		c = b.dial()
		c.handshake("PLAIN")
		if resp := c.authenticate([]byte(message)); resp.ErrorCode != kerr.SaslAuthenticationFailed.Code {
			t.Errorf("PLAIN with %q: %+v", message, resp)
		}
		c.mustBeClosed()
	}
	c = b.dial()
	c.handshake("SCRAM-SHA-512")
	if resp := c.authenticate([]byte("p=tls-unique,,n=alice,r=x")); resp.ErrorCode != kerr.SaslAuthenticationFailed.Code {
		t.Errorf("channel binding: %+v", resp)
	}
	c.mustBeClosed()
}

func TestWithoutUsersALogInFailsAndSaysWhy(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	for _, m := range mechanisms("alice", "secret") {
		c := b.dial()
		_, message, _ := m.Authenticate(context.Background(), "localhost")
		c.handshake(m.Name())
		resp := c.authenticate(message)
		if resp.ErrorCode != kerr.SaslAuthenticationFailed.Code || resp.ErrorMessage == nil || !strings.Contains(*resp.ErrorMessage, "no users") {
			t.Errorf("%s: %+v", m.Name(), resp)
		}
		c.mustBeClosed()
	}
	b.dial().publish("orders", 0, messages(1))
}

// A client may log in again on its connection, as the same user (KIP-368).
func TestAClientLogsInAgain(t *testing.T) {
	b := start(t, setup{})
	b.user("alice", "secret", anything, "*")
	b.user("bob", "secret", anything, "*")
	b.topic("orders", 1)
	for _, m := range mechanisms("alice", "secret") {
		c := b.dial()
		c.mustLogIn(m)
		c.publish("orders", 0, messages(1))
		for _, again := range mechanisms("alice", "secret") {
			c.mustLogIn(again)
			c.publish("orders", 0, messages(1))
		}
		if err := c.logIn(mechanisms("bob", "secret")[0]); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("as another user: %v", err)
		}
		c.mustBeClosed()
		c = b.dial()
		c.mustLogIn(m)
		c.handshake("PLAIN")
		c.send(kmsg.NewPtrMetadataRequest())
		c.mustBeClosed()
		c = b.dial()
		c.mustLogIn(m)
		if err := c.logIn(mechanisms("alice", "wrong")[0]); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("again with a wrong password: %v", err)
		}
		c.mustBeClosed()
	}
}

// A change that takes something away ends the connections that were admitted before.
func TestConnectionsEndWithTheirUsers(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.RequestTime = patience }})
	b.topic("orders", 1)
	anonymous, idle := b.dial(), b.dial()
	anonymous.publish("orders", 0, messages(1))
	ask[*kmsg.ApiVersionsResponse](idle, kmsg.NewPtrApiVersionsRequest())
	b.user("alice", "secret", anything, "*")
	b.user("bob", "secret", anything, "*")
	b.server.EndInvalid()
	anonymous.mustBeCut()
	idle.mustLogIn(mechanisms("alice", "secret")[1])
	idle.publish("orders", 0, messages(1))
	alice, bob := idle, b.dial()
	bob.mustLogIn(mechanisms("bob", "secret")[0])
	if all := b.server.Connections(); len(all) != 2 || all[0].User != "alice" || all[1].User != "bob" {
		t.Errorf("connections %+v", all)
	}
	b.change("alice", func(u *auth.User) {
		u.Grant(auth.Permission{Operations: auth.Describe, Kind: auth.Topic, Pattern: "more"})
	})
	b.server.EndInvalid()
	alice.publish("orders", 0, messages(1)) // nothing was taken away
	b.change("alice", func(u *auth.User) {
		u.Revoke(auth.Permission{Operations: auth.Publish, Kind: auth.Topic, Pattern: "*"})
	})
	b.server.EndInvalid()
	alice.mustBeCut()
	bob.publish("orders", 0, messages(1))
	if err := b.users().Delete("bob"); err != nil {
		t.Fatal(err)
	}
	b.server.EndInvalid()
	bob.mustBeCut()
}

// mustBeCut fails the test if the connection has responses.
func (c *client) mustBeCut() {
	c.t.Helper()
	if c.responds(kmsg.NewPtrApiVersionsRequest()) {
		c.t.Fatal("the connection is open")
	}
}

// responds reports whether a request has a response.
func (c *client) responds(req kmsg.Request) bool {
	c.t.Helper()
	c.sent++
	_, _ = c.Write(frame(req, c.sent)) // fails where the connection has ended
	_, err := c.tryReceive(req)
	return err == nil
}

// A client that does not log in is not waited for without end, however far it has got, nor cut off a moment too soon. One that
// has logged in, or needs not, stays as long as it likes.
func TestALogInHasATime(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	free := b.dial()
	await(t, "the connection is there", func() bool { return len(b.server.Connections()) == 1 })
	b.server.EndInvalidAt(time.Now().Add(24 * time.Hour)) // there are no users
	if !free.responds(kmsg.NewPtrApiVersionsRequest()) {
		t.Fatal("a client that needs no log-in is cut off")
	}
	b.user("alice", "secret", anything, "*")
	authenticate := func(message string) kmsg.Request {
		return &kmsg.SASLAuthenticateRequest{Version: 2, SASLAuthBytes: []byte(message)}
	}
	kinds := []struct {
		does  string
		begin func(c *client)
		next  kmsg.Request
	}{
		{"does nothing", func(*client) {}, kmsg.NewPtrApiVersionsRequest()},
		{"asks for versions", func(c *client) { ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest()) }, kmsg.NewPtrApiVersionsRequest()},
		{"chooses a mechanism", func(c *client) { c.handshake("PLAIN") }, authenticate("\x00alice\x00secret")},
		{"stops in the middle", func(c *client) {
			c.handshake("SCRAM-SHA-256")
			c.authenticate([]byte("n,,n=alice,r=x"))
		}, authenticate("c=biws,r=x,p=")},
	}
	before := time.Now()
	var early, late []*client
	for _, of := range []*[]*client{&early, &late} {
		for _, k := range kinds {
			c := b.dial()
			k.begin(c)
			*of = append(*of, c)
		}
	}
	await(t, "the connections are there", func() bool { return len(b.server.Connections()) == 1+2*len(kinds) })
	limit := b.broker.Limits.RequestTime
	b.server.EndInvalidAt(before.Add(limit))
	for i, c := range early {
		if !c.responds(kinds[i].next) {
			t.Errorf("a client that %s is cut off before its time has passed", kinds[i].does)
		}
	}
	b.server.EndInvalidAt(time.Now().Add(limit + 1))
	for i, c := range late {
		if c.responds(kinds[i].next) {
			t.Errorf("a client that %s is waited for", kinds[i].does)
		}
	}
	early[2].publish("orders", 0, messages(1)) // has logged in
}

// A client with the certificate of a user needs no log-in, and may log in as another user.
func TestACertificateLogsIn(t *testing.T) {
	authority := brokertest.NewAuthority(t)
	b := start(t, setup{secure: func(server *tls.Config) {
		server.ClientAuth, server.ClientCAs = tls.VerifyClientCertIfGiven, authority.Pool()
	}})
	b.user("alice", "secret", anything, "orders")
	b.user("bob", "secret", anything, "bills")
	b.topic("orders", 1)
	b.topic("bills", 1)
	with := func(name string) *client {
		with := b.tls
		b.tls = with.Clone()
		b.tls.Certificates = []tls.Certificate{authority.Issue(x509.Certificate{Subject: pkix.Name{CommonName: name}})}
		defer func() { b.tls = with }()
		return b.dial()
	}
	alice := with("alice")
	alice.publish("orders", 0, messages(1))
	if all := b.server.Connections(); len(all) != 1 || all[0].User != "alice" {
		t.Errorf("connections %+v", all)
	}
	bob := with("alice")
	bob.mustLogIn(mechanisms("bob", "secret")[2])
	bob.publish("bills", 0, messages(1))
	mallory := with("mallory")
	ask[*kmsg.ApiVersionsResponse](mallory, kmsg.NewPtrApiVersionsRequest())
	mallory.send(kmsg.NewPtrMetadataRequest())
	mallory.mustBeClosed()
	if err := b.users().Delete("alice"); err != nil {
		t.Fatal(err)
	}
	b.server.EndInvalid()
	alice.mustBeCut()
}
