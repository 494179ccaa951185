package fault

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/test/brokertest"
)

// A transport is how hostile clients reach a broker. The same attacks run over each.
type transport struct {
	name   string
	secure bool   // over TLS, to a broker with users
	user   string // in the hostile clients' certificates; "" for clients that can't log in
}

var (
	plain    = transport{name: "plain"}
	stranger = transport{name: "TLS", secure: true}
	insider  = transport{name: "TLS-as-user", secure: true, user: "mallory"}
)

// overEach runs a case over each transport.
func overEach(t *testing.T, attack func(t *testing.T, over transport)) {
	overThese(t, attack, plain, stranger, insider)
}

// overUsers runs a case over those with which the hostile clients get anywhere.
func overUsers(t *testing.T, attack func(t *testing.T, over transport)) {
	overThese(t, attack, plain, insider)
}

func overThese(t *testing.T, attack func(t *testing.T, over transport), all ...transport) {
	for _, over := range all {
		t.Run(over.name, func(t *testing.T) { attack(t, over) })
	}
}

// isStranger reports whether nothing that the hostile clients ask for is granted.
func (over transport) isStranger() bool { return over.secure && over.user == "" }

// memory is what the broker may take for n hostile connections, in bytes, beside each bytes that they take of it without TLS.
func (over transport) memory(n, each int64) int64 {
	if over.secure {
		each += memoryOfTLS
	}
	return n * each
}

// memoryOfTLS is what the state of a connection over TLS may take, in bytes, with the buffers of a record in both
// directions.
const memoryOfTLS = 48 << 10

// runs is how often a case does its work. Over TLS it is a quarter.
func (over transport) runs(brief, thorough int) int {
	n := runs(brief, thorough)
	if over.secure {
		n = (n + 3) / 4
	}
	return n
}

// The users of a broker with TLS. All may do everything: strangers are kept out, and insiders get as far as
// anybody without TLS.
const (
	friend         = "friend"
	friendPassword = "correct-horse-battery"
)

// lateFriends have the same password, and have not logged in before.
var lateFriends = []string{"late1", "late2", "late3"}

// start starts a broker with the transport.
func (over transport) start(t testing.TB, flags ...string) *brokertest.Broker {
	t.Helper()
	return over.startIn(t, t.TempDir(), flags...)
}

// startIn is start with a data directory.
func (over transport) startIn(t testing.TB, dir string, flags ...string) *brokertest.Broker {
	t.Helper()
	if !over.secure {
		return brokertest.Start(t, dir, flags...)
	}
	makeUsers(t, dir)
	b := brokertest.Start(t, dir, append(flags, brokertest.SecureFlags(t)...)...)
	b.LogIn(friend, friendPassword)
	return b
}

// makeUsers makes the users in a data directory, while no broker uses it.
func makeUsers(t testing.TB, dir string) {
	t.Helper()
	store, err := commitlog.Open(dir, commitlog.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(store, broker.Options{Limits: broker.DefaultLimits(), Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	users, err := b.As(broker.Self).UserEditor()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(lateFriends, friend, insider.user) {
		credentials, err := auth.NewCredentials(friendPassword)
		if err != nil {
			t.Fatal(err)
		}
		err = users.Change(name, func(u *auth.User, _ bool) error {
			u.SetCredentials(credentials...)
			u.Grant(auth.Permission{Operations: auth.Publish | auth.Consume | auth.Admin, Kind: auth.Topic, Pattern: "*"},
				auth.Permission{Operations: auth.Consume | auth.Admin, Kind: auth.Group, Pattern: "*"})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A rough connection can be closed in each way, whatever its transport.
type rough interface {
	net.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// A roughTLS is a connection over TLS. Once it lingers for no time, its close is a reset, without TLS's own close.
type roughTLS struct {
	*tls.Conn
	tcp    *net.TCPConn
	resets bool
}

func (c *roughTLS) SetLinger(seconds int) error {
	c.resets = seconds == 0
	return c.tcp.SetLinger(seconds)
}

func (c *roughTLS) Close() error {
	if c.resets {
		return c.tcp.Close()
	}
	return c.Conn.Close()
}

// secured has a connection use TLS, unless config is nil.
func secured(conn net.Conn, err error, config *tls.Config) (rough, error) {
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if config == nil {
		return tcp, nil
	}
	c := &roughTLS{Conn: tls.Client(tcp, config), tcp: tcp}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, err
	}
	return c, nil
}

// config is that of the hostile clients; nil without TLS.
func (s *siege) config() *tls.Config {
	if !s.over.secure {
		return nil
	}
	return brokertest.SecureClient(s.t, s.over.user)
}

// dialFrom connects from one of several loopback addresses: each has ports for
// some 28,000 connections.
func (s *siege) dialFrom(i int, address string) (rough, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%100))}}
	conn, err := d.Dial("tcp", address)
	return secured(conn, err, s.config())
}

// dialKafka connects to the port for Kafka clients.
func (s *siege) dialKafka(t testing.TB) *kafkaConn {
	t.Helper()
	conn, err := s.dialFrom(0, s.Kafka())
	if err != nil {
		t.Fatal(err)
	}
	return &kafkaConn{Conn: conn, isStranger: s.over.isStranger()}
}

// dialNarrow connects as dialNarrow does.
func (s *siege) dialNarrow(t *testing.T, address, text string) rough {
	t.Helper()
	conn, err := secured(dialNarrow(t, address, ""), nil, s.config())
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// dialFriend connects as a friend, and sends a request of lines.
func (s *siege) dialFriend(address, request string) (*lineConn, error) {
	if !s.over.secure {
		return dialLine(address, request)
	}
	conn, err := net.Dial("tcp", address)
	c, err := secured(conn, err, brokertest.SecureClient(s.t, ""))
	if err != nil {
		return nil, err
	}
	return newLineConn(c, "AUTH "+friend+" "+friendPassword+"\n"+request)
}

// friendOfKafka are the options of a friend's client of the Kafka protocol.
func (s *siege) friendOfKafka() []kgo.Opt {
	options := []kgo.Opt{kgo.SeedBrokers(s.Kafka())}
	if s.over.secure {
		options = append(options, kgo.DialTLSConfig(brokertest.SecureClient(s.t, "")),
			kgo.SASL(scram.Auth{User: friend, Pass: friendPassword}.AsSha256Mechanism()))
	}
	return options
}

// isDenied reports whether an answer refuses a client that has not logged in, as it may where the hostile clients can't.
func (s *siege) isDenied(port, answer string) bool {
	return s.over.isStranger() && (port == "kafka" && answer == "" || deniedAnswer.MatchString(answer))
}
