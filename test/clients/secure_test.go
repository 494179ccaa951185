package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	confluent "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	segmentio "github.com/segmentio/kafka-go"
	segmentiosasl "github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const password = "a secret, = and all"

// A secured is a broker with TLS on loopback, and with the user admin, who may do
// everything.
type secured struct {
	*broker
	authority string // the file of the authority's certificate
	tls       *tls.Config
}

func startSecured(t *testing.T) *secured {
	t.Helper()
	t.Parallel() // clients mostly wait
	dir := t.TempDir()
	admin(t, "cert", "-self-signed", "-out", dir)
	s := &secured{authority: filepath.Join(dir, "ca.pem")}
	authority, err := os.ReadFile(s.authority)
	if err != nil {
		t.Fatal(err)
	}
	s.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	s.tls.RootCAs.AppendCertsFromPEM(authority)
	s.broker = &broker{
		t: t, data: filepath.Join(dir, "data"), address: reserve(t),
		flags: []string{"-tls-cert", filepath.Join(dir, "cert.pem"), "-tls-key", filepath.Join(dir, "key.pem")},
	}
	s.begin()
	t.Cleanup(func() { s.end(os.Interrupt) })
	_, port, _ := net.SplitHostPort(s.http)
	admin(t, "user", "add", "admin", "-hport", port, "-data", s.data)
	admin(t, "grant", "admin", "all", "*", "-group", "*", "-hport", port, "-data", s.data)
	return s
}

// admin runs the program for administration, which takes the password of a user from its environment.
func admin(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(patient(t), filepath.Join(programs, "admin"), args...)
	cmd.Env = append(os.Environ(), "MBUS_PASSWORD="+password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("admin %q: %v\n%s", args, err, out)
	}
}

func TestKcatLogsIn(t *testing.T) {
	s := startSecured(t)
	for _, login := range [][2]string{{"SASL_SSL", "PLAIN"}, {"SASL_SSL", "SCRAM-SHA-256"}, {"SASL_SSL", "SCRAM-SHA-512"}, {"SASL_PLAINTEXT", "SCRAM-SHA-256"}} {
		args := func(more ...string) []string {
			return append([]string{
				"-X", "security.protocol=" + login[0], "-X", "sasl.mechanism=" + login[1], "-X", "ssl.ca.location=" + s.authority,
				"-X", "sasl.username=admin", "-X", "sasl.password=" + password,
			}, more...)
		}
		topic := strings.Join(login[:], "-")
		kcat(t, s.broker, "hello\n", args("-P", "-t", topic)...)
		if got := kcat(t, s.broker, "", args("-C", "-t", topic, "-o", "beginning", "-e", "-q")...); got != "hello\n" {
			t.Errorf("%s: %q", topic, got)
		}
	}
}

// scramOf is franz-go's.
func scramOf(name, password string) sasl.Mechanism {
	return scram.Auth{User: name, Pass: password}.AsSha512Mechanism()
}

func (s *secured) franz(m sasl.Mechanism) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.address), kgo.DialTLSConfig(s.tls), kgo.SASL(m), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(cl.Close)
	return cl
}

func TestFranzAdministersUsersAndPermissions(t *testing.T) {
	s := startSecured(t)
	admin, ctx := kadm.NewClient(s.franz(scramOf("admin", password))), patient(t)
	if altered, err := admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{
		{User: "alice", Mechanism: kadm.ScramSha256, Iterations: 16384, Password: password},
		{User: "alice", Mechanism: kadm.ScramSha512, Iterations: 16384, Password: password},
	}); err != nil || altered.Error() != nil {
		t.Fatalf("%v, %v", altered, err)
	}
	if altered, err := admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: "bob", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password}}); err != nil || !errors.Is(altered.Error(), kerr.UnacceptableCredential) {
		t.Errorf("few iterations: %v, %v", altered, err)
	}
	described, err := admin.DescribeUserSCRAMs(ctx)
	if err != nil || len(described) != 2 || len(described["alice"].CredInfos) != 2 {
		t.Errorf("%v, %v", described, err)
	}
	alice := s.franz(scramOf("alice", password))
	publish := func(topic string) error {
		return alice.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("hello")}).FirstErr()
	}
	if err := publish("orders.eu"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("without a permission: %v", err)
	}
	orders := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Topics("orders").ResourcePatternType(kadm.ACLPatternPrefixed).Allow("User:alice").AllowHosts("*").Operations(kadm.OpWrite)
	}
	if made, err := admin.CreateACLs(ctx, orders()); err != nil || len(made) != 1 || made[0].Err != nil {
		t.Fatalf("%+v, %v", made, err)
	}
	if err := publish("orders.eu"); err != nil {
		t.Errorf("with its permission: %v", err)
	}
	if found, err := admin.DescribeACLs(ctx, orders()); err != nil || len(found) != 1 || len(found[0].Described) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	if refused, err := admin.CreateACLs(ctx, kadm.NewACLs().Topics("orders").ResourcePatternType(kadm.ACLPatternLiteral).Deny("User:alice").DenyHosts("*").Operations(kadm.OpRead)); err != nil || len(refused) != 1 || !errors.Is(refused[0].Err, kerr.InvalidRequest) {
		t.Errorf("DENY: %+v, %v", refused, err)
	}
	if deleted, err := admin.DeleteACLs(ctx, orders()); err != nil || len(deleted) != 1 || len(deleted[0].Deleted) != 1 {
		t.Errorf("%+v, %v", deleted, err)
	}
	if err := publish("orders.eu"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("when the permission is deleted: %v", err)
	}
}

// A saramaScram is a client of SCRAM for sarama, which has none.
type saramaScram struct {
	session sasl.Session
	next    []byte
	done    bool
}

func (c *saramaScram) Begin(name, password, _ string) (err error) {
	c.session, c.next, err = scramOf(name, password).Authenticate(context.Background(), "")
	return err
}

func (c *saramaScram) Step(challenge string) (string, error) {
	if challenge == "" {
		return string(c.next), nil
	}
	done, next, err := c.session.Challenge([]byte(challenge))
	c.done = done
	return string(next), err
}

func (c *saramaScram) Done() bool { return c.done }

func TestSaramaLogsIn(t *testing.T) {
	s := startSecured(t)
	c := saramaConfig(sarama.V2_8_0_0)
	c.Net.TLS.Enable, c.Net.TLS.Config = true, s.tls
	c.Net.SASL.Enable, c.Net.SASL.Mechanism, c.Net.SASL.User, c.Net.SASL.Password = true, sarama.SASLTypeSCRAMSHA512, "admin", password
	c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return new(saramaScram) }
	saramaSend(t, s.broker, c, "orders")
	wantAll(t, "orders", saramaRead(t, s.broker, c, "orders", sarama.OffsetOldest, perTopic))
	c.Net.SASL.Password = "wrong"
	if _, err := sarama.NewClient([]string{s.address}, c); !strings.Contains(fmt.Sprint(err), "password") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestSegmentioLogsIn(t *testing.T) {
	s := startSecured(t)
	m, err := segmentiosasl.Mechanism(segmentiosasl.SHA256, "admin", password)
	if err != nil {
		t.Fatal(err)
	}
	w := &segmentio.Writer{
		Addr: segmentio.TCP(s.address), Topic: "orders", AllowAutoTopicCreation: true, BatchTimeout: 10 * time.Millisecond,
		Transport: &segmentio.Transport{TLS: s.tls, SASL: m},
	}
	defer w.Close()
	if err := w.WriteMessages(patient(t), segmentio.Message{Value: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	r := segmentio.NewReader(segmentio.ReaderConfig{
		Brokers: []string{s.address}, Topic: "orders", GroupID: "g", StartOffset: segmentio.FirstOffset, MaxWait: time.Second,
		Dialer: &segmentio.Dialer{TLS: s.tls, SASLMechanism: m, Timeout: patience},
	})
	defer r.Close()
	if got, err := r.ReadMessage(patient(t)); err != nil || string(got.Value) != "hello" {
		t.Errorf("%q, %v", got.Value, err)
	}
}

func TestConfluentLogsIn(t *testing.T) {
	s := startSecured(t)
	extra := []string{"security.protocol", "SASL_SSL", "sasl.mechanism", "SCRAM-SHA-256", "ssl.ca.location", s.authority, "sasl.username", "admin", "sasl.password", password}
	confluentSend(t, s.broker, "orders", -1, append(slices.Clone(extra), "enable.idempotence", "true")...)
	c, err := confluent.NewConsumer(confluentConfig(s.broker, append(extra, "group.id", "g", "auto.offset.reset", "earliest")...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe("orders", nil); err != nil {
		t.Fatal(err)
	}
	wantAll(t, "orders", confluentRead(t, c, perTopic))
}

func TestNodeClientsLogIn(t *testing.T) {
	s := startSecured(t)
	script(t, "secure.js", s.address, s.authority, "admin", password)
}
