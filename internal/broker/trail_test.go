package broker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// audited opens a broker whose log is a book.
func audited(t *testing.T) (*bus, *brokertest.LogBook) {
	t.Helper()
	book := new(brokertest.LogBook)
	b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Log: slog.New(slog.NewTextHandler(book, nil))}})
	t.Cleanup(func() { mustClose(t, b) })
	return b, book
}

// Each change leaves one line, which names the user that has made it, and no line has a secret.
func TestEachChangeIsInTheAuditTrailOnce(t *testing.T) {
	b, book := audited(t)
	mustGrant(t, b, "root", auth.Admin|auth.Consume, "*")
	users := mustEditUsers(t, b)
	if err := users.Change("root", func(u *auth.User, _ bool) error {
		u.Grant(auth.Permission{Operations: auth.Admin | auth.Consume, Kind: auth.Group, Pattern: "*"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	root := b.As(broker.Principal{Name: "root", By: "token", From: "192.0.2.7:5"})
	editor, err := root.UserEditor()
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	change := func(f func(u *auth.User)) func() error {
		return func() error {
			return editor.Change("alice", func(u *auth.User, _ bool) error { f(u); return nil })
		}
	}
	var topic *broker.Topic
	var id string
	orders := auth.Permission{Operations: auth.Publish | auth.Consume, Kind: auth.Topic, Pattern: "orders*"}
	for _, step := range []struct {
		what string // of the line
		do   func() error
	}{
		{`action=create kind=topic name=orders outcome=done partitions=1 settings="retention.ms=1000 segment.ms=60000"`, func() error {
			_, err := root.CreateTopic("orders", 1, map[string]string{"retention.ms": "1000", "segment.ms": "60000"})
			return err
		}},
		{`action=configure kind=topic name=orders outcome=done settings="segment.ms=60000"`, func() error {
			return root.Configure("orders", func(own map[string]string) error { delete(own, "retention.ms"); return nil })
		}},
		{`action=grow kind=topic name=orders outcome=done partitions=2`, func() error { return root.AddPartitions("orders", 2) }},
		{`action="set positions" kind=group name=billing outcome=done topic=orders offsets="[0 0]"`, func() (err error) {
			if topic, err = root.Topic("orders", broker.Read); err != nil {
				return err
			}
			return root.ResetOffsets("billing", topic, []int64{0, 0})
		}},
		{`action="delete positions" kind=group name=billing outcome=done topics=[orders]`, func() error {
			return root.DeleteOffsets("billing", map[string][]int{"orders": {1}})
		}},
		{`action=delete kind=group name=billing outcome=done`, func() error { return root.DeleteOffsets("billing", nil) }},
		{`action=delete kind=topic name=orders outcome=done`, func() error { return root.DeleteTopicByID(topic.ID) }},
		{`action=create kind=user name=alice outcome=done granted="consume,publish topic orders*"`, change(func(u *auth.User) { u.Grant(orders) })},
		{`action=change kind=user name=alice outcome=done revoked="publish topic orders*"`, change(func(u *auth.User) {
			u.Revoke(auth.Permission{Operations: auth.Publish, Kind: auth.Topic, Pattern: "orders*"})
		})},
		{`action=change kind=user name=alice outcome=done credentials_set="SCRAM-SHA-256; SCRAM-SHA-512"`, change(func(u *auth.User) { setPassword(t, u, "secret one") })},
		{`action=change kind=user name=alice outcome=done credentials_set="SCRAM-SHA-256; SCRAM-SHA-512"`, change(func(u *auth.User) { setPassword(t, u, "secret two") })},
		{`action=change kind=user name=alice outcome=done tokens_added=`, change(func(u *auth.User) {
			secret, made := u.AddToken(0)
			secrets, id = append(secrets, secret, fmt.Sprintf("%x", made.Hash)), made.ID
		})},
		{`action=change kind=user name=alice outcome=done tokens_removed=`, change(func(u *auth.User) { u.RemoveToken(id) })},
		{`action=delete kind=user name=alice outcome=done`, func() error { return editor.Delete("alice") }},
	} {
		before := len(book.Lines("msg=audit"))
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
		lines := book.Lines("msg=audit")[before:]
		if want := "level=INFO msg=audit user=root by=token client=192.0.2.7:5 " + step.what; len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("%q\nis not once in %q", want, lines)
		}
	}
	for _, secret := range append(secrets, "secret one", "secret two") {
		if lines := book.Lines(secret); len(lines) > 0 {
			t.Errorf("a secret is in the log: %s", lines)
		}
	}
	if lines := book.Lines("msg=audit", "user=(broker)"); len(lines) != 2 {
		t.Errorf("the broker's own changes are %q", lines)
	}
}

func setPassword(t *testing.T, u *auth.User, password string) {
	t.Helper()
	all, err := auth.NewCredentials(password)
	if err != nil {
		t.Fatal(err)
	}
	u.SetCredentials(all...)
}

// A topic that a message has made is created by its publisher; nobody creates it once more.
func TestAPublishersTopicIsInTheAuditTrail(t *testing.T) {
	b, book := audited(t)
	nobody := b.As(broker.Principal{From: "127.0.0.1:7"})
	for range 2 {
		if _, err := nobody.MakeTopic("orders"); err != nil {
			t.Fatal(err)
		}
	}
	if lines := book.Lines(`msg=audit user="" by="" client=127.0.0.1:7 action=create kind=topic name=orders outcome=done partitions=1`); len(lines) != 1 {
		t.Errorf("the log says %q", book.Lines(""))
	}
}

// A refusal has one line; what lists leave out has none. A failed change has none, either.
func TestRefusalsAreInTheAuditTrail(t *testing.T) {
	b, book := audited(t)
	mustMake(t, b, "secret")
	mustGrant(t, b, "alice", auth.Publish, "orders*")
	alice := b.As(broker.Principal{Name: "alice", By: "PLAIN", From: "192.0.2.7:5"})
	before := len(book.Lines("msg=audit"))
	alice.Topics()
	alice.Groups()
	alice.Positions("g")
	alice.Members("g")
	alice.KeepsGroup("g")
	alice.CommittedOffsets("g")
	alice.CommittedOffset("g", "secret", 0)
	alice.Lag("g", "secret")
	alice.Delayed()
	broker.GroupNames(alice)
	alice.Await("secret", func() { t.Error("it was told of a topic that it may not know") })()
	if lines := book.Lines("msg=audit")[before:]; len(lines) > 0 {
		t.Errorf("lists are refusals: %q", lines)
	}
	if err := b.As(broker.Self).DeleteTopic("none"); err == nil || len(book.Lines("msg=audit")) != before {
		t.Errorf("deleting no topic: %v, and the log says %q", err, book.Lines("msg=audit"))
	}
	long := strings.Repeat("x", 10000)
	for want, err := range maps.All(map[string]error{
		`action=delete kind=topic name=secret outcome=refused needs=admin`:                   alice.DeleteTopic("secret"),
		`action=write kind=topic name="a \"quoted\"\nname" outcome=refused needs=publish`:    second(alice.MakeTopic("a \"quoted\"\nname")),
		`action=read kind=group name=g outcome=refused needs=consume`:                        second(alice.UseGroup("g", broker.UseLine)),
		`action=alter kind=cluster name="" outcome=refused needs=admin`:                      second(alice.UserEditor()),
		`action=describe kind=topic name=` + long[:256] + `… outcome=refused needs=describe`: second(alice.Topic(long, broker.Describe)),
		`action=create kind=topic name=` + "new" + ` outcome=refused needs=admin`:            second(alice.CreateTopic("new", 1, nil)),
	}) {
		lines := book.Lines("level=WARN msg=audit user=alice by=PLAIN client=192.0.2.7:5 " + want)
		if !errors.Is(err, broker.ErrDenied) || len(lines) != 1 {
			t.Errorf("%s: %v, and the log says %q", want, err, book.Lines("msg=audit"))
		}
	}
}

// A log-in that fails is logged with the user whom it was about. A name that nobody has may be a password.
func TestAFailedLogInIsInTheAuditTrail(t *testing.T) {
	b, book := audited(t)
	mustGrant(t, b, "alice", auth.Publish, "orders*")
	at := netip.MustParseAddrPort("192.0.2.7:5")
	now := make(chan struct{})
	close(now)
	for want, c := range map[string]struct {
		certificate string
		claim       broker.Claim
	}{
		`by=PLAIN client=192.0.2.7:5 action="log in" kind=user name=alice outcome=refused`:         {"", broker.Claim{User: "alice", By: "PLAIN"}},
		`by=SCRAM-SHA-256 client=192.0.2.7:5 action="log in" kind=user name="" outcome=refused`:    {"", broker.Claim{User: "correct horse", By: "SCRAM-SHA-256"}},
		`by=token client=192.0.2.7:5 action="log in" kind=user name="" outcome=refused`:            {"", broker.Claim{By: "token"}},
		`by=certificate client=192.0.2.7:5 action="log in" kind=user name="a b" outcome=refused`:   {"a b", broker.Claim{User: "a b", By: "certificate"}},
		`by=SCRAM-SHA-512 client=192.0.2.7:5 action="log in" kind=user name=alice outcome=refused`: {"a b", broker.Claim{User: "alice", By: "SCRAM-SHA-512"}},
	} {
		client := broker.Client{Address: at, IsPrivate: true, Certificate: c.certificate}
		_, err := b.Login(client, c.claim, now, func(users *auth.Users) (auth.Identity, error) { return users.Token("wrong", client.Local) })
		if lines := book.Lines(`level=WARN msg=audit user="" ` + want); !errors.Is(err, auth.ErrUnauthenticated) || len(lines) != 1 {
			t.Errorf("%s: %v, and the log says %q", want, err, book.Lines("msg=audit"))
		}
	}
	if lines := book.Lines("horse"); len(lines) > 0 {
		t.Errorf("the log has what may be a password: %q", lines)
	}
}

// However many refusals there are, few are logged, and all are counted.
func TestAFloodOfRefusalsIsBoundedAndCounted(t *testing.T) {
	b, book := audited(t)
	mustGrant(t, b, "alice", auth.Publish, "orders*")
	const flood = 5000
	for i := range flood {
		from := broker.Principal{Name: "mallory", From: fmt.Sprintf("192.0.2.1:%d", i)}
		if err := b.As(from).DeleteTopic("orders"); !errors.Is(err, broker.ErrDenied) {
			t.Fatal(err)
		}
	}
	count := func() (lines, all int) {
		for _, line := range book.Lines("msg=audit", "outcome=refused") {
			lines++
			left := 1
			if _, after, found := strings.Cut(line, "left_out="); found {
				fmt.Sscan(after, &left)
			}
			all += left
		}
		return lines, all
	}
	await(t, "all are counted", func() bool { _, all := count(); return all >= flood })
	lines, all := count()
	if all != flood {
		t.Errorf("%d refusals are counted, not %d", all, flood)
	}
	if seconds := len(book.Lines("msg=audit", "left_out=")); lines > seconds*21 {
		t.Errorf("%d refusals have %d lines in %d seconds", flood, lines, seconds)
	}
	if lines := book.Lines("msg=audit", "name=orders", "client=192.0.2.1:0"); len(lines) != 1 {
		t.Errorf("the first refusal has %d lines", len(lines))
	}
}
