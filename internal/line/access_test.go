package line_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/line"
)

const password = "correct horse  battery — staple "

// edit changes a user, which it makes if there is none.
func (b *bus) edit(name string, change func(*auth.User)) {
	b.t.Helper()
	users, err := b.broker.UserEditor()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := users.Change(name, func(u *auth.User, _ bool) error { change(u); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// addUser makes a user with the password and these permissions, and returns the line that logs it in.
func (b *bus) addUser(name string, may ...auth.Permission) (login string) {
	b.t.Helper()
	all, err := auth.NewCredentials(password)
	if err != nil {
		b.t.Fatal(err)
	}
	b.edit(name, func(u *auth.User) {
		u.SetCredentials(all...)
		u.Grant(may...)
	})
	return "AUTH " + name + " " + password + "\n"
}

// topicMay and groupMay make permissions.
func topicMay(o auth.Operation, pattern string) auth.Permission {
	return auth.Permission{Operations: o, Kind: auth.Topic, Pattern: pattern}
}

func groupMay(o auth.Operation, pattern string) auth.Permission {
	return auth.Permission{Operations: o, Kind: auth.Group, Pattern: pattern}
}

// everything is what a user may do that may do all.
func everything() []auth.Permission {
	return []auth.Permission{topicMay(auth.Consume|auth.Publish|auth.Admin, "*"), groupMay(auth.Consume|auth.Admin, "*")}
}

// allBut is all that can be allowed for what a permission is for, without it.
func allBut(p auth.Permission) []auth.Permission {
	all := auth.Consume | auth.Publish | auth.Admin
	if p.Kind == auth.Group {
		all = auth.Consume | auth.Admin
	}
	if p.Operations == auth.Describe { // which each of them implies
		return nil
	}
	return []auth.Permission{{Operations: all &^ p.Operations, Kind: p.Kind, Pattern: p.Pattern}}
}

// A need is a request, and the permissions that it takes. Where they are missing it is refused, or it does not show a text.
type need struct {
	request string
	may     []auth.Permission
	hides   string
}

func needs(b *bus) (producers, consumers []need) {
	id := ""
	for _, t := range b.broker.Topics() {
		if t.Name == "orders" {
			id = broker.TopicID(t.ID).String()
		}
	}
	publish, consume := []auth.Permission{topicMay(auth.Publish, "orders")}, []auth.Permission{topicMay(auth.Consume, "orders"), groupMay(auth.Consume, "g*")}
	admin := func(topic string) []auth.Permission { return []auth.Permission{topicMay(auth.Admin, topic)} }
	describe := []auth.Permission{topicMay(auth.Describe, "orders"), groupMay(auth.Describe, "held")}
	redrive := []auth.Permission{topicMay(auth.Consume, "orders.dlq"), groupMay(auth.Consume, "redrive"), topicMay(auth.Consume, "orders"), groupMay(auth.Consume, "held")}
	again := []auth.Permission{topicMay(auth.Consume, "again.dlq"), groupMay(auth.Consume, "redrive"), topicMay(auth.Publish, "orders")}
	producers = []need{
		{"orders\nsecond\n", publish, ""},
		{"made\nfirst\n", []auth.Permission{topicMay(auth.Publish, "made")}, ""},
		{"orders?id=" + id + "&producer=7&first=1&new\nfirst\n", publish, ""},
		{"orders?delay=1h&keyed\nk\tv\n", publish, ""},
		{"orders?format=json&at=2100-01-01\n{}\n", publish, ""},
		{"orders?format=batch\n" + text(newBatch("second")), publish, ""},
	}
	consumers = []need{
		{"orders?group=g", consume, ""},
		{"orders", []auth.Permission{topicMay(auth.Consume, "orders"), groupMay(auth.Consume, "default")}, ""},
		{"orders?follow&n=1&group=g1&start=beginning&partition=0&keyed&id=" + id, consume, ""},
		{"orders?follow&n=1&ack&group=g2&confirm&format=json&ordered&window=1&ack-timeout=1m&retry=1s&attempts=2", consume, ""},
		{"orders?from=0", consume[:1], ""},
		{"orders?follow&n=1&from=0", consume[:1], ""},
		{"orders.dlq?redrive", redrive, ""},
		{"again.dlq?redrive&to=all", again, ""},
		{"?topics&topic=orders", describe[:1], ""},
		{"?topics", describe[:1], "orders"},
		{"?groups&group=held", describe, "orders"},
		{"?groups", describe, "held"},
		{"?reset&group=g&topic=orders&to=0", consume, ""},
		{"?reset&group=g&topic=orders&to=0&execute&format=json", consume, ""},
		{"?create&topic=new", admin("new"), ""},
		{"?create&topic=new&partitions=1&retention=1d&retention-unread=1d&retention-bytes=1m&execute", admin("new"), ""},
		{"?grow&topic=grown&partitions=2", admin("grown"), ""},
		{"?grow&topic=grown&partitions=2&execute", admin("grown"), ""},
		{"?delete&topic=gone", admin("gone"), ""},
		{"?delete&topic=gone&execute", admin("gone"), ""},
		{"?delete&group=held", []auth.Permission{groupMay(auth.Admin, "held")}, ""},
		{"?delete&group=held&execute", []auth.Permission{groupMay(auth.Admin, "held")}, ""},
	}
	return producers, consumers
}

// Each request is refused without a log-in, without a permission and with each that it takes missing, and served with them.
// A new request, or option, without a line in needs fails the test.
func TestEachRequestTakesItsPermissions(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	worker := b.dial(b.consumers, "orders?follow&ack&group=held\n")
	worker.mustSay("first")
	worker.send("-1 dead\n")
	awaitCommitted(b, "held", 1)
	worker.Close()
	awaitMembers(b, "held", 0)
	b.publish("again.dlq?format=json", `{"payload":"again","headers":["mbus-topic","orders"]}`)
	b.publish("grown", "first")
	b.publish("gone", "first")
	producers, consumers := needs(b)
	login := b.addUser("alice")
	all := ""
	for i, n := range slices.Concat(producers, consumers) {
		address, request := b.producers, n.request
		if i >= len(producers) {
			address, request = b.consumers, n.request+"\n"
		}
		first, _, _ := strings.Cut(request, "\n")
		all += "&" + strings.ReplaceAll(first, "?", "&")
		b.dial(address, request).mustRefuse("DENIED", "log in first")
		as := func(may ...auth.Permission) (got string, refused bool) {
			b.edit("alice", func(u *auth.User) { u.Permissions = nil; u.Grant(may...) })
			got = b.dial(address, login+request).firstOf(n.request)
			if n.hides != "" {
				return got, !strings.Contains(got, n.hides)
			}
			return got, strings.HasPrefix(got, "-DENIED ") && strings.Contains(got, `access denied: user "alice" may not `)
		}
		if got, refused := as(); !refused {
			t.Errorf("%s, without any permission: %s", first, brief(got))
		}
		for j, missing := range n.may {
			if got, refused := as(slices.Concat(n.may[:j], n.may[j+1:], allBut(missing))...); !refused {
				t.Errorf("%s, without %v: %s", first, missing, brief(got))
			}
		}
		if got, refused := as(n.may...); refused || n.hides == "" && strings.HasPrefix(got, "-") {
			t.Errorf("%s, with %v: %s", first, n.may, brief(got))
		}
	}
	all += "&"
	for _, name := range slices.Concat(line.RequestsOfAdministration(), line.OptionsOfAll()) {
		if !strings.Contains(all, "&"+name+"&") && !strings.Contains(all, "&"+name+"=") {
			t.Errorf("which permissions take requests with %q?", name)
		}
	}
}

// firstOf reads the first line of a producer and of a follower, and all of others.
func (c *client) firstOf(request string) string {
	c.t.Helper()
	defer c.reset()
	if strings.Contains(request, "follow") || strings.Contains(request, "\n") {
		return c.line() + "\n"
	}
	return c.rest()
}

// What was refused has changed nothing, and is in the audit trail.
func TestWhatIsRefusedChangesNothing(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	login := b.addUser("alice", topicMay(auth.Describe, "orders"))
	root := b.addUser("root", everything()...)
	b.dial(b.producers, login+"orders\nsecond\n").mustRefuse("DENIED", `user "alice" may not write topic "orders"`)
	b.dial(b.producers, login+"new\nfirst\n").mustRefuse("DENIED", `"new"`)
	b.dial(b.producers, "new\nfirst\n").mustRefuse("DENIED", "AUTH USER PASSWORD")
	b.dial(b.consumers, login+"?delete&topic=orders&execute\n").mustRefuse("DENIED", `delete topic "orders"`)
	b.dial(b.consumers, root+"orders\n").mustEnd("first\n")
	b.dial(b.consumers, "AUTH alice secret-2\norders\n").mustRefuse("DENIED", "wrong")
	if got := fmt.Sprint(b.inTopic("new")); got != "map[]" {
		t.Errorf("what was refused was stored: %s", got)
	}
	for _, words := range [][]string{
		{"msg=audit", "user=alice", "by=PLAIN", "action=write", "kind=topic", "name=orders", "outcome=refused"},
		{"msg=audit", "user=alice", "action=delete", "name=orders", "outcome=refused"},
		{"msg=audit", `user=""`, "action=write", "name=new", "outcome=refused"},
		{"msg=audit", `user=""`, "by=PLAIN", `action="log in"`, "kind=user", "name=alice", "outcome=refused"},
	} {
		if n := len(b.book.Lines(words...)); n != 1 {
			t.Errorf("%d lines of the log with %q", n, words)
		}
	}
}
