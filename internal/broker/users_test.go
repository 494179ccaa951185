package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/internal/auth"
	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// grant allows a user operations on topics, and makes the user if there is none.
func grant(b *bus, name string, o auth.Operation, pattern string) error {
	users, err := b.UserEditor()
	if err != nil {
		return err
	}
	return users.Change(name, func(u *auth.User, _ bool) error {
		u.Grant(auth.Permission{Operations: o, Kind: auth.Topic, Pattern: pattern})
		return nil
	})
}

func mustGrant(t testing.TB, b *bus, name string, o auth.Operation, pattern string) {
	t.Helper()
	if err := grant(b, name, o, pattern); err != nil {
		t.Fatal(err)
	}
}

func mustEditUsers(t testing.TB, b *bus) *auth.Editor {
	t.Helper()
	users, err := b.UserEditor()
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// As soon as there is a user, everything is denied but what its permissions say.
func TestUsersMayDoWhatTheirPermissionsSay(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	secret := mustMake(t, b, "secret")
	nobody, alice, root := b.As(broker.Principal{}), b.As(broker.Principal{Name: "alice"}), b.As(broker.Principal{Name: "root"})
	if _, err := nobody.Topic("secret", broker.Delete); err != nil {
		t.Errorf("without users: %v", err)
	}
	if _, err := alice.Topic("secret", broker.Describe); !errors.Is(err, broker.ErrDenied) {
		t.Errorf("a user who does not exist: %v", err)
	}
	mustGrant(t, b, "alice", auth.Publish, "orders*")
	mustGrant(t, b, "root", auth.Admin, "*")
	mustGrant(t, b, "carol", auth.Publish, "*") // which implies to look at the broker as a whole
	if _, err := alice.MakeTopic("orders.eu"); err != nil {
		t.Errorf("publishing does not make a topic: %v", err)
	}
	for what, err := range map[string]error{
		"nobody looks":           second(nobody.Topic("orders.eu", broker.Describe)),
		"alice looks":            second(alice.Topic("secret", broker.Describe)),
		"alice looks by its id":  second(alice.TopicByID(secret.ID, broker.Describe)),
		"alice reads":            second(alice.Topic("orders.eu", broker.Read)),
		"alice creates":          second(alice.CreateTopic("orders.us", 1, nil)),
		"alice deletes":          alice.DeleteTopic("orders.eu"),
		"alice publishes":        second(alice.MakeTopic("new")),
		"alice looks at users":   second(alice.UserEditor()),
		"carol looks at users":   second(b.As(broker.Principal{Name: "carol"}).UserEditor()),
		"root changes positions": second(root.Position("g", secret, 0)), // a permission for topics says nothing of groups
	} {
		if !errors.Is(err, broker.ErrDenied) && (what != "alice looks by its id" || !errors.Is(err, store.ErrUnknownTopic)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"alice looks":   second(alice.Topic("orders.eu", broker.Describe)),
		"root deletes":  root.DeleteTopic("secret"),
		"root creates":  second(root.CreateTopic("new", 1, nil)),
		"users of root": second(root.UserEditor()),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list := alice.Topics(); len(list) != 1 || list[0].Name != "orders.eu" {
		t.Errorf("alice sees %v", list)
	}
	if list := nobody.Topics(); len(list) != 0 {
		t.Errorf("nobody sees %v", list)
	}
	users := mustEditUsers(t, b)
	if err := errors.Join(users.Delete("alice"), users.Delete("root"), users.Delete("carol")); err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Topic("orders.eu", broker.Read); err != nil {
		t.Errorf("without users again: %v", err)
	}
}

// The broker's own topics have the positions of all groups, and delayed messages of all topics: they take access to the broker as a
// whole, and not only to all topics.
func TestTheBrokersOwnTopicsAreForItsAdministrators(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustGrant(t, b, "reader", auth.Consume|auth.Publish, "*")
	mustGrant(t, b, "root", auth.Consume|auth.Admin, "*")
	for _, name := range []string{"__consumer_offsets", "__delayed"} {
		if err := b.As(broker.Principal{Name: "reader"}).Allow(broker.Read, broker.TopicResource, name); !errors.Is(err, broker.ErrDenied) || !strings.HasSuffix(err.Error(), "it needs admin on topics *") {
			t.Errorf("a user of all topics reads %s: %v", name, err)
		}
		if err := b.As(broker.Principal{Name: "root"}).Allow(broker.Read, broker.TopicResource, name); err != nil {
			t.Error(err)
		}
	}
}

// A member of a group that a user may look at may consume a topic of which the user may not know.
func TestMembersOfAGroupDoNotShowHiddenTopics(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	err := mustEditUsers(t, b).Change("alice", func(u *auth.User, _ bool) error {
		u.Grant(auth.Permission{Operations: auth.Consume, Kind: auth.Group, Pattern: "g"}, auth.Permission{Operations: auth.Consume, Kind: auth.Topic, Pattern: "orders"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"orders", "secret"} {
		leave, err := b.UseGroup("g", group.Membership{Protocol: "line", Topic: topic, Client: topic})
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	want := []group.Membership{{Protocol: "line", Topic: "orders", Client: "orders"}, {Protocol: "line", Client: "secret"}}
	if got := b.As(broker.Principal{Name: "alice"}).Members("g"); !slices.Equal(got, want) {
		t.Errorf("alice sees %+v", got)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNoClientFindsTheTopicOfUsers(t *testing.T) {
	s := setup{dir: t.TempDir()}
	for range 2 {
		b := mustOpen(t, s)
		mustGrant(t, b, "alice", auth.Admin, "*")
		for _, topic := range b.Topics() {
			if topic.Name == broker.UsersTopic {
				t.Errorf("it is in the list")
			}
		}
		for what, err := range map[string]error{
			"found":     second(b.Topic(broker.UsersTopic)),
			"published": second(b.MakeTopic(broker.UsersTopic)),
			"created":   second(b.CreateTopic(broker.UsersTopic, 1, nil)),
			"deleted":   b.DeleteTopic(broker.UsersTopic),
			"grown":     b.AddPartitions(broker.UsersTopic, 2),
			"changed":   b.Configure(broker.UsersTopic, func(map[string]string) error { return nil }),
		} {
			if err == nil {
				t.Errorf("it can be %s", what)
			}
		}
		mustClose(t, b)
	}
}

func TestUsersAreKeptAndTheirLogIsCompacted(t *testing.T) {
	const changes = 2500
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	mustGrant(t, b, "bob", auth.Consume, "orders")
	for i := range changes {
		mustGrant(t, b, fmt.Sprint("user", i%7), auth.Publish, fmt.Sprint("topic", i%70))
	}
	if err := mustEditUsers(t, b).Delete("user3"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, b)
	if n := len(usersBatches(t, s)); n > changes/2 {
		t.Errorf("after %d changes the log has %d batches", changes, n)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	users := mustEditUsers(t, b)
	if n := users.Len(); n != 7 {
		t.Errorf("%d users are left", n)
	}
	if u, err := users.Find("user6"); err != nil || len(u.Permissions) != 10 {
		t.Errorf("user6 has %v, %v", u.Permissions, err)
	}
	if !b.Users().May("bob", auth.Consume, auth.Topic, "orders") {
		t.Error("what was written first is lost")
	}
}

// A user with long patterns makes the log long by few records.
func TestTheLogOfUsersIsCompactedByItsSize(t *testing.T) {
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	for i := range 300 {
		mustGrant(t, b, "alice", auth.Publish, fmt.Sprint(i%20, strings.Repeat("x", 1000)))
		mustGrant(t, b, "bob", auth.Publish, fmt.Sprint(i%100, strings.Repeat("y", 1000)))
	}
	mustClose(t, b)
	if size := len(slices.Concat(usersBatches(t, s)...)); size > 10<<20 {
		t.Errorf("after 600 changes the log has %d bytes", size)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	for name, want := range map[string]int{"alice": 20, "bob": 100} {
		if u, err := mustEditUsers(t, b).Find(name); err != nil || len(u.Permissions) != want {
			t.Errorf("%s has %d permissions, %v", name, len(u.Permissions), err)
		}
	}
}

// usersBatches are the batches that a start would read.
func usersBatches(t *testing.T, s setup) (all []batch.Batch) {
	t.Helper()
	if s.disk != nil {
		s.log.FS, s.dir = s.disk, "/data"
	}
	st, err := commitlog.Open(s.dir, s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	log, err := st.Partition(broker.UsersTopic, 0)
	if err != nil {
		t.Fatal(err)
	}
	start, _ := log.Offsets()
	if err := store.Walk(log, start, func(err error) error { return err }, func(b batch.Batch) (bool, error) {
		all = append(all, slices.Clone(b))
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// A start without the users would open everything, and one without the latest of them would give
// back what was taken away.
func TestUsersThatCannotBeReadStopTheStart(t *testing.T) {
	s := setup{disk: crashfs.New()}
	b := mustOpen(t, s)
	mustGrant(t, b, "alice", auth.Publish, "orders")
	mustClose(t, b)
	if err := s.disk.Rename("/data/topics/"+broker.UsersTopic, "/data/lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(s); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("a start without them: %v", err)
	}
	if err := s.disk.Rename("/data/lost", "/data/topics/"+broker.UsersTopic); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	if _, err := b.As(broker.Principal{}).MakeTopic("orders"); !errors.Is(err, broker.ErrDenied) {
		t.Errorf("they are back, and anyone may publish: %v", err)
	}
	mustClose(t, b)
}

// So would one that skips damage among them.
func TestDamageAmongTheUsersStopsTheStart(t *testing.T) {
	const log = "/data/topics/" + broker.UsersTopic + "/0/00000000000000000000.log"
	s := setup{disk: crashfs.New()}
	b := mustOpen(t, s)
	mustGrant(t, b, "alice", auth.Publish, "orders")
	mustGrant(t, b, "bob", auth.Consume, "orders")
	if err := mustEditUsers(t, b).Delete("alice"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, b)
	at := int64(0)
	for i, damaged := range usersBatches(t, s) {
		flip(t, s.disk, log, at+int64(len(damaged))-1)
		var damage *store.DamageError
		if _, err := open(s); !errors.As(err, &damage) || damage.Topic != broker.UsersTopic {
			t.Errorf("batch %d: the start says %v", i, err)
		}
		var found []commitlog.Finding
		if _, err := commitlog.Verify("/data", commitlog.Options{FS: s.disk}, func(f commitlog.Finding) { found = append(found, f) }); err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || found[0].Topic != broker.UsersTopic || found[0].First != int64(i) {
			t.Errorf("batch %d: -verify finds %v", i, found)
		}
		flip(t, s.disk, log, at+int64(len(damaged))-1)
		at += int64(len(damaged))
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	if n := b.Users().Len(); n != 1 || !b.Users().Has("bob") {
		t.Errorf("without the damage there are %d users", n)
	}
}

// A record that is whole, and is no user's, is one that another version has written.
func TestAUserThatCannotBeReadStopsTheStart(t *testing.T) {
	s := setup{disk: crashfs.New()}
	b := mustOpen(t, s)
	mustGrant(t, b, "alice", auth.Publish, "orders")
	mustClose(t, b)
	appendUsers(t, s.disk, func(records *batch.Builder) { records.Add(0, []byte("alice"), []byte(`{"name":"bob"}`)) })
	if _, err := open(s); err == nil || !strings.Contains(err.Error(), `the record of user "alice" is that of "bob"`) {
		t.Errorf("the start says %v", err)
	}
}

// appendUsers appends a batch to the log of users, and makes the log if there is none.
func appendUsers(t *testing.T, disk *crashfs.FS, fill func(*batch.Builder)) {
	t.Helper()
	st, err := commitlog.Open("/data", commitlog.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.CreateTopic(broker.UsersTopic, 1, ""); err != nil && !errors.Is(err, store.ErrTopicExists) {
		t.Fatal(err)
	}
	log, err := st.Partition(broker.UsersTopic, 0)
	if err != nil {
		t.Fatal(err)
	}
	var records batch.Builder
	fill(&records)
	records.Close(0)
	if _, err := store.AppendAndWait(log, records.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// The process or the system dies before each single change that is made on the disk.
func TestPowerCutLosesNoChangeOfUsers(t *testing.T) {
	if calls, _ := cutChangesOfUsers(t, crashfs.New(), ""); calls < 6 {
		t.Errorf("there were only %d calls to be killed at", calls)
	}
}

// So while the log of users is compacted.
func TestPowerCutDuringTheirCompactionLosesNoUser(t *testing.T) {
	const records = 1000 // from which the log is compacted
	base := crashfs.New()
	appendUsers(t, base, func(b *batch.Builder) {
		for range records {
			b.Add(0, []byte("root"), []byte(`{"name":"root"}`))
		}
	})
	calls, disk := cutChangesOfUsers(t, base, " root")
	if first := usersBatches(t, setup{disk: disk})[0]; calls < 10 || first.BaseOffset() < records {
		t.Errorf("there were only %d calls to be killed at, and the log begins at %d", calls, first.BaseOffset())
	}
}

// cutChangesOfUsers changes users over and over, and kills the broker before a later call each time. It returns how many calls
// there were, and the disk with all changes. rest are the users who are there and stay.
func cutChangesOfUsers(t *testing.T, base *crashfs.FS, rest string) (calls int, disk *crashfs.FS) {
	t.Helper()
	steps := []func(*bus) error{
		func(b *bus) error { return grant(b, "alice", auth.Publish, "orders") },
		func(b *bus) error { return grant(b, "bob", auth.Admin, "*") },
		func(b *bus) error {
			users, err := b.UserEditor()
			if err != nil {
				return err
			}
			return users.Delete("alice")
		},
	}
	want := []string{"", " alice", " alice bob", " bob"}
	for finished := false; !finished; calls++ {
		disk = base.Crash(crashfs.Everything())
		b := mustOpen(t, setup{disk: disk})
		var n atomic.Int32
		disk.SetHook(func(crashfs.Call) error {
			if int(n.Add(1)) == calls+1 {
				disk.Kill()
			}
			return nil
		})
		done := 0
		for _, step := range steps {
			if step(b) != nil {
				break
			}
			done++
		}
		finished = done == len(steps)
		disk.Kill()
		_ = b.Close() // of the dead one
		for policy, p := range []crashfs.Policy{crashfs.Everything(), crashfs.Nothing(), crashfs.Some(uint64(calls)), crashfs.Torn(uint64(calls))} {
			b := mustOpen(t, setup{disk: disk.Crash(p)})
			got := ""
			for _, u := range mustEditUsers(t, b).List() {
				got += " " + u.Name
			}
			if got != want[done]+rest && (finished || got != want[done+1]+rest) {
				t.Fatalf("killed before call %d, policy %d: %d changes were acknowledged, and the users are%s", calls, policy, done, got)
			}
			mustClose(t, b)
		}
	}
	return calls, disk.Crash(crashfs.Everything())
}
