package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPermissionsAreThoseOfThePatterns(t *testing.T) {
	users, k := newUsers(t)
	add1(t, users, "alice", "secret",
		Permission{Publish, Topic, "orders*"}, Permission{Consume, Topic, "orders.eu"}, Permission{Consume, Group, "billing*"}, Permission{Admin, Topic, "orders.eu.*"})
	for range 2 {
		for question, want := range map[string]bool{
			"publish topic orders": true, "publish topic orders.eu": true, "consume topic orders.eu": true, "consume topic orders": false,
			"describe topic orders": true, "describe topic order": false, "admin topic orders.eu.1": true, "publish topic orders.eu.1": true, "admin topic orders.eu": false,
			"consume group billing": true, "consume group bill": false, "consume topic billing": false, "publish topic *": false, "describe topic *": false,
		} {
			var op, kind, name string
			fmt.Sscan(question, &op, &kind, &name)
			o, err := ParseOperations(op)
			if err != nil {
				t.Fatal(err)
			}
			if got := users.May("alice", o, Kind(kind), name); got != want {
				t.Errorf("%s: %v", question, got)
			}
			if users.May("bob", o, Kind(kind), name) || users.May("", o, Kind(kind), name) {
				t.Errorf("%s: others may, too", question)
			}
		}
		users = k.reopened(t)
	}
}

// naive is what permissions say, without an index.
func naive(all []Permission, kind Kind, name string) (o Operation) {
	for _, p := range all {
		text, isPrefix := strings.CutSuffix(p.Pattern, "*")
		if p.Kind == kind && (isPrefix && strings.HasPrefix(name, text) || !isPrefix && name == text) {
			o |= p.Operations | Describe
		}
	}
	return o
}

func TestTheIndexOfPermissionsAnswersAsTheirList(t *testing.T) {
	text := func(n int) string {
		b := make([]byte, rand.IntN(n))
		for i := range b {
			b[i] = "ab"[rand.IntN(2)]
		}
		return string(b)
	}
	for range 2000 {
		var all []Permission
		for range rand.IntN(12) {
			all = append(all, Permission{Operation(1 << rand.IntN(4)), []Kind{Topic, Group}[rand.IntN(2)], text(6) + []string{"", "*"}[rand.IntN(2)]})
		}
		topics, groups := newRules(all, Topic), newRules(all, Group)
		for range 20 {
			name := text(8)
			if got, want := topics.allowed(name), naive(all, Topic, name); got != want {
				t.Fatalf("topic %q with %v: %v, not %v", name, all, got, want)
			}
			if got, want := groups.allowed(name), naive(all, Group, name); got != want {
				t.Fatalf("group %q with %v: %v, not %v", name, all, got, want)
			}
		}
	}
}

func TestGrantAndRevoke(t *testing.T) {
	u := User{}
	u.Grant(Permission{Publish, Topic, "a*"}, Permission{Consume, Topic, "a*"}, Permission{Consume, Group, "g"})
	if want := []Permission{{Publish | Consume, Topic, "a*"}, {Consume, Group, "g"}}; !reflect.DeepEqual(u.Permissions, want) {
		t.Errorf("%v, not %v", u.Permissions, want)
	}
	u.Revoke(Permission{Publish | Admin, Topic, "a*"}, Permission{Consume, Group, "g"}, Permission{Consume, Topic, "a"})
	if want := []Permission{{Consume, Topic, "a*"}}; !reflect.DeepEqual(u.Permissions, want) {
		t.Errorf("%v, not %v", u.Permissions, want)
	}
}

// A log-in ends with what it was given for, and with nothing else.
func TestLogInsEndWhenSomethingIsTakenAway(t *testing.T) {
	users, _ := newUsers(t)
	now := time.Now()
	if !users.IsValid(Identity{}, now) {
		t.Error("without users a client must log in")
	}
	grant := Permission{Publish | Consume, Topic, "a*"}
	for name, c := range map[string]struct {
		change func(u *User)
		valid  bool
	}{
		"more":                   {func(u *User) { u.Grant(Permission{Admin, Topic, "a*"}, Permission{Consume, Topic, "b"}) }, true},
		"a token":                {func(u *User) { u.AddToken(0) }, true},
		"less":                   {func(u *User) { u.Revoke(Permission{Publish, Topic, "a*"}) }, false},
		"nothing":                {func(u *User) { u.Permissions = nil }, false},
		"another password":       {func(u *User) { u.SetCredentials(newCredential(SHA256, "x", make([]byte, minSalt), MinIterations)) }, false},
		"a mechanism less":       {func(u *User) { u.Credentials = u.Credentials[:1] }, false},
		"what it does not have":  {func(u *User) { u.Revoke(Permission{Admin, Topic, "a*"}) }, true},
		"the same in other form": {func(u *User) { u.Grant(grant) }, true},
	} {
		add1(t, users, "alice", "secret", grant)
		id, err := users.Password("alice", "secret", Applicant{})
		if err != nil {
			t.Fatal(err)
		}
		if users.IsValid(Identity{}, now) {
			t.Error("with users a client need not log in")
		}
		if err := users.Change("alice", func(u *User, _ bool) error { c.change(u); return nil }); err != nil {
			t.Fatal(err)
		}
		if users.IsValid(id, now) != c.valid {
			t.Errorf("%s: the log-in is valid: %v", name, !c.valid)
		}
		if err := users.Delete("alice"); err != nil {
			t.Fatal(err)
		}
		if users.IsValid(id, now) {
			t.Errorf("%s: a deleted user is logged in", name)
		}
	}
	add1(t, users, "alice", "secret", grant)
	before, err := users.Password("alice", "secret", Applicant{})
	if err != nil {
		t.Fatal(err)
	}
	if err := users.Delete("alice"); err != nil {
		t.Fatal(err)
	}
	add1(t, users, "alice", "secret", grant)
	if users.IsValid(before, now) {
		t.Error("a log-in is valid for a user of the same name that was made later")
	}
}

func TestWhatIsNotDurableIsNotInForce(t *testing.T) {
	failure, fails := errors.New("the disk"), false
	users := New(func(string, []byte) error {
		if fails {
			return failure
		}
		return nil
	})
	grant := func(name string) error {
		return users.Change(name, func(u *User, _ bool) error { u.Grant(Permission{Publish, Topic, name}); return nil })
	}
	if fails = true; !errors.Is(grant("alice"), failure) || users.Any() {
		t.Error("the first user is there")
	}
	fails = false
	add1(t, users, "bob", "secret") // the secret of all users is durable now
	for name, change := range map[string]func() error{
		"a user": func() error { return grant("alice") }, "a permission": func() error { return grant("bob") },
		"a deletion": func() error { return users.Delete("bob") },
	} {
		if fails = true; !errors.Is(change(), failure) || users.Has("alice") || !users.Has("bob") || users.May("bob", Publish, Topic, "bob") {
			t.Errorf("%s that is not durable is in force: %+v", name, users.List())
		}
	}
}

// A change that could not be saved may be kept all the same. After a restart it is not in force either.
func TestAChangeThatFailedIsNotInForceAfterARestart(t *testing.T) {
	type record struct {
		name string
		kept []byte
	}
	const all = 3 // changes that fail
	for repairs, again := range map[string]func(*Editor) error{
		"the next change": func(e *Editor) error { return e.Change("dave", func(*User, bool) error { return nil }) },
		"the end":         (*Editor).Repair,
		"at once":         func(*Editor) error { return nil },
	} {
		var log []record
		failing := 0 // saves that fail, and are kept
		users := New(func(name string, kept []byte) error {
			failing--
			if changed := kept == nil || bytes.Contains(kept, []byte("admin")); failing < 0 || changed {
				log = append(log, record{name, kept})
			}
			if failing >= 0 {
				return errors.New("the disk")
			}
			return nil
		})
		change := func(name string, o Operation) error {
			return users.Change(name, func(u *User, _ bool) error {
				u.Grant(Permission{o, Topic, "*"})
				return nil
			})
		}
		if err := errors.Join(change("alice", Publish), change("carol", Publish)); err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error { return change("alice", Admin) },
			func() error { return change("bob", Admin) },
			func() error { return users.Delete("carol") },
		} {
			if failing = 1; repairs != "at once" {
				failing = 2 * all
			}
			if step() == nil {
				t.Errorf("%s: a change was saved", repairs)
			}
		}
		failing = 0
		if err := again(users); err != nil {
			t.Fatal(err)
		}
		restarted := New(nil)
		for _, r := range log {
			if err := restarted.Load(r.name, r.kept); err != nil {
				t.Fatal(err)
			}
		}
		if restarted.Loaded(); restarted.May("alice", Admin, Topic, "t") || restarted.May("bob", Admin, Topic, "t") || !restarted.May("carol", Publish, Topic, "t") {
			t.Errorf("repaired by %s: after a restart a change is in force that failed: %v", repairs, restarted.List())
		}
	}
}

func TestUsersAreBounded(t *testing.T) {
	users, _ := newUsers(t)
	for name, change := range map[string]func(u *User){
		"permissions":  func(u *User) { u.Permissions = make([]Permission, maxPermissions+1) },
		"a permission": func(u *User) { u.Grant(Permission{Publish, Group, "g"}) },
		"no operation": func(u *User) { u.Grant(Permission{0, Topic, "t"}) },
		"a pattern":    func(u *User) { u.Grant(Permission{Publish, Topic, "a*b"}) },
		"no pattern":   func(u *User) { u.Grant(Permission{Publish, Topic, ""}) },
		"a long one":   func(u *User) { u.Grant(Permission{Publish, Topic, strings.Repeat("x", maxPattern+1)}) },
		"iterations":   func(u *User) { u.SetCredentials(newCredential(SHA256, "x", make([]byte, minSalt), 4096)) },
		"a salt":       func(u *User) { u.SetCredentials(newCredential(SHA256, "x", make([]byte, minSalt-1), MinIterations)) },
		"a mechanism": func(u *User) {
			u.SetCredentials(Credential{Mechanism: "PLAIN", Iterations: MinIterations, Salt: make([]byte, minSalt)})
		},
		"two of a mechanism": func(u *User) {
			c := newCredential(SHA256, "x", make([]byte, minSalt), MinIterations)
			u.Credentials = []Credential{c, c}
		},
		"tokens": func(u *User) { u.Tokens = make([]Token, maxTokens+1) },
	} {
		if err := users.Change("alice", func(u *User, _ bool) error { change(u); return nil }); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a:b", "(operator)", "a\nb", "\xff", strings.Repeat("x", maxName+1)} {
		if err := users.Change(name, func(*User, bool) error { return nil }); !errors.Is(err, ErrInvalid) {
			t.Errorf("name %.20q: %v", name, err)
		}
	}
	for _, password := range []string{"", strings.Repeat("x", maxPassword+1), "a\nb", "\xff"} {
		if _, err := NewCredentials(password); !errors.Is(err, ErrInvalid) {
			t.Errorf("password %.20q: %v", password, err)
		}
	}
	if users.Any() {
		t.Error("there is a user")
	}
}

func TestFailedLogInsAreAnsweredLater(t *testing.T) {
	var a Attempts
	now := time.Now()
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 40 {
		if got, want := a.Failed(one, now), min(lastDelay, time.Duration(i+1)*firstDelay); got != want {
			t.Fatalf("after %d failures: %v, not %v", i, got, want)
		}
	}
	if got := a.Failed(other, now); got != firstDelay {
		t.Errorf("another address waits %v", got)
	}
	if got := a.Failed(one, now.Add(10*forgiveAfter)); got != lastDelay-9*firstDelay {
		t.Errorf("later it waits %v", got)
	}
	if a.Failed(netip.MustParseAddr("2001:db8::1"), now); a.Failed(netip.MustParseAddr("2001:db8::2"), now) != 2*firstDelay {
		t.Error("a client with a network of IPv6 has many addresses")
	}
	for i := range 2 * maxAddresses {
		a.Failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(a.from) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(a.from))
	}
	if a.Failed(netip.Addr{}, now) != firstDelay {
		t.Error("no address is counted with others")
	}
}

// many are users with permissions, total of each.
func many(t testing.TB, total int) *Editor {
	e := New(kept{}.save)
	all := make(map[string]*user)
	for i := range total {
		name := fmt.Sprintf("user-%d", i)
		all[name] = e.compile(&User{Name: name, Permissions: []Permission{{Publish, Topic, fmt.Sprintf("topic-%d-*", i)}}}, nil)
	}
	one := User{Name: "one"}
	for i := range total {
		one.Permissions = append(one.Permissions, Permission{Consume, Topic, fmt.Sprintf("topic-%d-*", i)}, Permission{Consume, Topic, fmt.Sprintf("name-%d", i)})
	}
	all["one"] = e.compile(&one, nil)
	e.publish(all)
	return e
}

func TestAQuestionAllocatesNothing(t *testing.T) {
	e := many(t, 1000)
	if n := testing.AllocsPerRun(100, func() {
		if !e.May("one", Consume, Topic, "topic-77-x") || e.May("user-5", Publish, Topic, "topic-77-x") {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMay(b *testing.B) {
	e := many(b, 10000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !e.May("one", Consume, Topic, "topic-7777-x") {
			b.Fatal("denied")
		}
	}
}

// Records of earlier versions have operations as one text.
func TestOperationsAreAListInJSON(t *testing.T) {
	want := Permission{Publish | Consume, Topic, "orders*"}
	p, err := json.Marshal(want)
	if err != nil || string(p) != `{"operations":["consume","publish"],"kind":"topic","pattern":"orders*"}` {
		t.Fatalf("%s %v", p, err)
	}
	for _, text := range []string{string(p), `{"operations":"publish,consume","kind":"topic","pattern":"orders*"}`} {
		var got Permission
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{`["publish","fly"]`, `[]`, `""`, `[1]`, `{}`, `null`, `1`} {
		var o Operation
		if err := json.Unmarshal([]byte(text), &o); err == nil {
			t.Errorf("%s: %v", text, o)
		}
	}
}

// Where others reach the broker, the last user stays: without users everything would be open.
func TestLastUserCanNotBeDeletedWhereOthersReachTheBroker(t *testing.T) {
	users := New(func(string, []byte) error { return nil })
	add := func(name string) {
		t.Helper()
		if err := users.Change(name, func(*User, bool) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	users.KeepLast(true)
	add("alice")
	add("bob")
	if err := users.Delete("alice"); err != nil {
		t.Fatal(err)
	}
	if err := users.Delete("bob"); !errors.Is(err, ErrLastUser) || !users.Any() {
		t.Errorf("the last one: %v", err)
	}
	if err := users.Delete("alice"); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("another one: %v", err)
	}
	users.KeepLast(false)
	if err := users.Delete("bob"); err != nil || users.Any() {
		t.Errorf("with -insecure: %v", err)
	}
}
