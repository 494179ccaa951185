package fault

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/internal/auth"
	"mbus/test/brokertest"
)

// Injected: kill -9 under publishers over TLS, who log in, and under changes of users: they are made, get and lose
// permissions and passwords, and are deleted. Expected: what was acknowledged is there, messages and changes: each user can
// log in with its latest password only, and may do what it was allowed last.
func TestF51UsersOverKills(t *testing.T) {
	c := secureCrowd(t, t.TempDir())
	c.liveOver(runs(2, 100), func() { c.b.Kill() })
}

// Injected: power cuts instead.
func TestF51UsersOverPowerCuts(t *testing.T) {
	d := newLoopDisk(t, diskBytes)
	c := secureCrowd(t, filepath.Join(d.dir, "data"))
	c.liveOver(runs(2, 40), func() { d.powerCut(t, c.b) })
}

// secureCrowd publishes over TLS, at a broker whose users change.
func secureCrowd(t *testing.T, dir string) *crowd {
	t.Helper()
	c := newCrowd(t, insider.startIn(t, dir), "load", seeds(t), 4, 4)
	c.ledger.config, c.ledger.login = brokertest.SecureClient(t, ""), c.b.Login()
	for _, r := range c.readers() {
		r.login = c.b.Login()
	}
	c.users = newUserBook(t, c.b)
	return c
}

// liveOver has the crowd live so many times, each until the end.
func (c *crowd) liveOver(lives int, end func()) {
	c.t.Helper()
	var sum tally
	for range lives {
		sum.Runs++
		before := c.users.changes.Load()
		c.live(1000+c.random.IntN(4000), func() {
			brokertest.Await(c.t, patience, "a change of users is acknowledged in this life", func() bool { return c.users.changes.Load() > before })
			end()
		})
		c.b.Restart()
		c.check()
	}
	c.report(sum)
	c.b.Stop()
}

// A userBook changes users over HTTP, one after the other, and knows what each may be after a crash: "" for none, or its
// password and whether it may publish.
type userBook struct {
	t       *testing.T
	b       *brokertest.Broker
	users   map[string]fate
	step    int
	changes atomic.Int64 // acknowledged
	latest  int          // number of a password

	passwords map[string]string // that was set last, or was to be
}

func newUserBook(t *testing.T, b *brokertest.Broker) *userBook {
	k := &userBook{t: t, b: b, users: make(map[string]fate), passwords: make(map[string]string)}
	for i := range 3 {
		k.users[fmt.Sprint("user", i)] = fate{"": true}
	}
	return k
}

// usersTopic is the one that the users may publish to, or not.
const usersTopic = "of-users"

// mayPublish is the body that grants it, or revokes it.
var mayPublish = map[string]any{"permissions": []auth.Permission{{Operations: auth.Publish, Kind: auth.Topic, Pattern: usersTopic}}}

// publishes is what a userBook has behind the password of a user who may publish.
const publishes = " publishes"

// errUserRefused is a change that was refused.
var errUserRefused = errors.New("refused")

// work goes on until the broker is gone.
func (k *userBook) work() {
	for {
		name := fmt.Sprint("user", k.step/usersSteps%len(k.users))
		err := k.change(name, k.step%usersSteps)
		switch {
		case errors.Is(err, errUserRefused):
			k.t.Error(err)
			return
		case err != nil:
			return
		}
		k.changes.Add(1)
		k.step++
	}
}

// usersSteps is how many changes a life of a user has.
const usersSteps = 6

// change makes one change. What the life before has left open is finished by the steps: each of them leads to one state.
func (k *userBook) change(name string, step int) error {
	f := k.users[name]
	password := k.passwords[name]
	switch step {
	case 0, 4: // a user that is left from before keeps its permissions
		k.latest++
		password = fmt.Sprint("secret", k.latest)
		k.passwords[name] = password
		may := publishes
		if step == 0 {
			if err := f.change("", func() error { return k.ask(http.MethodDelete, "/users/"+name+"?execute", nil) }); err != nil {
				return err
			}
			may = ""
		}
		return f.change(password+may, func() error {
			return k.ask(http.MethodPut, "/users/"+name, map[string]string{"password": password})
		})
	case 1, 3:
		return f.change(password+publishes, func() error { return k.ask(http.MethodPost, "/users/"+name+"/grant", mayPublish) })
	case 2:
		return f.change(password, func() error { return k.ask(http.MethodPost, "/users/"+name+"/revoke", mayPublish) })
	}
	return f.change("", func() error { return k.ask(http.MethodDelete, "/users/"+name+"?execute", nil) })
}

// ask sends a request of the operator. A user to delete need not be there.
func (k *userBook) ask(method, path string, body any) error {
	status, answer, err := k.b.Operate(method, path, body)
	switch {
	case err != nil || status == http.StatusServiceUnavailable:
		return fmt.Errorf("no answer: %d %q, %w", status, answer, err)
	case status/100 == 2, method == http.MethodDelete && status == http.StatusNotFound:
		return nil
	}
	return fmt.Errorf("%w: %s %s is answered %d %q", errUserRefused, method, path, status, answer)
}

// check compares the users with what they may be, and tries what they may.
func (k *userBook) check() {
	k.t.Helper()
	for name, f := range k.users {
		now := k.state(name, f)
		if !f[now] {
			k.t.Errorf("user %q is %q, and may be %v", name, now, f)
		}
		f.settle(now)
	}
	k.step -= k.step % usersSteps // a life that was cut off begins again
}

// state is what a user is: its password is one of those that it may have.
func (k *userBook) state(name string, f fate) string {
	k.t.Helper()
	status, answer, err := k.b.Operate(http.MethodGet, "/users/"+name, nil)
	if err != nil || status != http.StatusOK && status != http.StatusNotFound {
		k.t.Fatalf("user %q: %d %q, %v", name, status, answer, err)
	}
	if status == http.StatusNotFound {
		for state := range f {
			if password, _, _ := strings.Cut(state, " "); password != "" && k.logIn(name, password) != "" {
				k.t.Errorf("user %q does not exist, and logs in", name)
			}
		}
		return ""
	}
	var u struct{ Permissions []auth.Permission }
	if err := json.Unmarshal([]byte(answer), &u); err != nil {
		k.t.Fatal(err)
	}
	may := ""
	if slices.ContainsFunc(u.Permissions, func(p auth.Permission) bool { return p.Operations&auth.Publish != 0 }) {
		may = publishes
	}
	for state := range f {
		password, _, _ := strings.Cut(state, " ")
		if password == "" {
			continue
		}
		if as := k.logIn(name, password); as != "" {
			if got := strings.TrimPrefix(as, "in"); got != may {
				k.t.Errorf("user %q has permissions %v, and publishing says %q", name, u.Permissions, as)
			}
			return password + may
		}
	}
	return "with another password" + may
}

// logIn tries to publish as a user: "" if that can't log in, "in" if it may not publish.
func (k *userBook) logIn(name, password string) string {
	k.t.Helper()
	conn := brokertest.Dial(k.t, k.b.Producers(), "AUTH "+name+" "+password+"\n"+usersTopic+"\nmessage\n")
	defer conn.Close()
	switch answer := brokertest.ReadLine(k.t, bufio.NewReader(conn)); {
	case answer == "+1", strings.HasPrefix(answer, "-FULL "):
		return "in" + publishes
	case strings.HasPrefix(answer, "-DENIED access denied: "):
		return "in"
	case !strings.HasPrefix(answer, "-DENIED "):
		k.t.Errorf("user %q is answered %q", name, answer)
	}
	return ""
}

// Injected: something else fills the disk to the last byte, or each write of the users' log fails, while users
// change. Expected: a change that failed is not in force, neither then nor after a restart, and one that was acknowledged is; with
// space again users can be changed.
func TestF52UsersOnAFullOrFailingDisk(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, d *memDisk, b *brokertest.Broker) (repair func()){
		"full": func(_ *testing.T, d *memDisk, _ *brokertest.Broker) func() {
			d.clear()
			d.fill(-1)
			return d.clear
		},
		"failing": func(t *testing.T, d *memDisk, b *brokertest.Broker) func() {
			stop := failWritesOf("__mbus_users", "pwrite64:error=EIO")(t, b)
			return func() {
				stop()
				d.clear()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newMemDisk(t, "size=16m")
			b := insider.startIn(t, d.data())
			d.fill(4 << 20)
			k := newUserBook(t, b)
			k.mustChange("user0", 0)
			k.mustChange("user0", 1)
			repair := fail(t, d, b)
			k.makeUntilRefused()
			failed := 0
			for _, c := range []struct {
				user string
				step int
			}{{"user1", 0}, {"user0", 2}, {"user0", 4}, {"user0", 5}} { // made, revoked, another password, deleted
				failed += k.tryChange(c.user, c.step)
			}
			if failed == 0 {
				t.Error("all changes are done")
			}
			repair()
			b.Restart()
			for name, f := range k.users {
				k.mustBe(name, fmt.Sprint(f))
			}
			k.mustChange("user1", 0)
			k.mustChange("user0", 5)
			k.check()
			report(t, tally{Runs: 5})
		})
	}
}

func (k *userBook) mustChange(name string, step int) {
	k.t.Helper()
	if err := k.change(name, step); err != nil {
		k.t.Fatal(err)
	}
}

// tryChange makes a change that may fail, and then is not in force: the result is 1.
func (k *userBook) tryChange(name string, step int) (failed int) {
	k.t.Helper()
	before, password := fmt.Sprint(k.users[name]), k.passwords[name]
	if err := k.change(name, step); err == nil {
		return 0
	}
	k.passwords[name] = password
	k.mustBe(name, before)
	return 1
}

// mustBe fails the test unless a user is as before; the states that it was to have are forgotten.
func (k *userBook) mustBe(name, before string) {
	k.t.Helper()
	f := k.users[name]
	now := k.state(name, f)
	f.settle(now)
	if after := fmt.Sprint(f); after != before {
		k.t.Errorf("user %q is %s after a change that failed, and was %s", name, after, before)
	}
}

// makeUntilRefused uses the space that the users' log has still, with large users and then with small ones.
func (k *userBook) makeUntilRefused() {
	k.t.Helper()
	var large []auth.Permission
	for i := range 60 {
		large = append(large, auth.Permission{Operations: auth.Describe, Kind: auth.Topic, Pattern: fmt.Sprintf("%d-%0900d", i, 0)})
	}
	for n, permissions := range [][]auth.Permission{large, large[:1]} {
		for i := 0; ; i++ {
			path := fmt.Sprintf("/users/of-%d-number-%d", n, i)
			if k.ask(http.MethodPut, path, map[string]string{}) != nil || k.ask(http.MethodPost, path+"/grant", map[string]any{"permissions": permissions}) != nil {
				break
			}
			if i == 5000 {
				k.t.Fatal("users can be made on a disk that is full")
			}
		}
	}
}
