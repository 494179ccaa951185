package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// administer runs admin with the operator token, which is in the data directory.
func (b *broker) administer(words ...string) {
	b.t.Helper()
	_, port, _ := strings.Cut(b.http, ":")
	cmd := exec.Command(filepath.Join(programs, "admin"), append(words, "-data", b.data, "-hport", port)...)
	cmd.Env = append(os.Environ(), "MBUS_PASSWORD=secret of alice")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("admin %q: %v: %s", words, err, out)
	}
}

// logIn fills in the form.
func (p *tab) logIn(user, password string) {
	p.t.Helper()
	p.do(chromedp.Evaluate(`document.getElementById('user').value = ''`, nil))
	p.fill("#user", user)
	p.fill("#password", password)
	p.submit("form.login button")
}

// isAt fails the test if the tab shows something else than a path.
func (p *tab) isAt(path string) {
	p.t.Helper()
	var at string
	if p.do(chromedp.Evaluate(`location.pathname`, &at)); at != path {
		p.t.Errorf("the page is at %q, not at %q", at, path)
	}
}

// A user logs in with the right password, sees what it may see, and logs out. A session ends with its user.
func TestLogIn(t *testing.T) {
	b := start(t)
	b.publish("orders", "first order")
	b.publish("payroll", "a secret")
	b.administer("user", "add", "alice")
	b.administer("user", "add", "root")
	b.administer("grant", "alice", "publish,consume", "orders*", "-group", "billing*")
	p := open(b)
	p.lenient = true // the browser logs answers of 401 and 403
	p.visit("/ui/topics/orders")
	p.isAt("/login")
	p.must("Log in", "User", "Password")
	for _, scheme := range []string{"dark", "light"} {
		p.scheme(scheme)
		p.checkReadable()
		p.screenshot("login-" + scheme)
	}
	for _, wrong := range [][2]string{{"alice", "wrong"}, {"nobody", "secret of alice"}} {
		p.logIn(wrong[0], wrong[1])
		p.isAt("/login")
		p.must("The user or the password is wrong.")
	}
	p.screenshot("login-wrong")
	p.logIn("alice", "secret of alice")
	p.isAt("/ui/topics/orders") // where it was going
	p.must("alice", "Log out", "first order", "curl -u alice ", "-user alice")
	if scripted := p.evaluate(`document.cookie.length`); scripted != 0 {
		t.Error("scripts see the cookie")
	}
	p.visit("/")
	p.must("orders")
	if text := p.text(); strings.Contains(text, "payroll") || strings.Contains(text, "Health") || strings.Contains(text, "Users") {
		t.Errorf("alice sees what she may not: %s", text)
	}
	for _, path := range []string{"/ui/topics/payroll", "/ui/topics/nowhere", "/ui/users", "/ui/health"} {
		p.visit(path)
		p.must("DENIED")
	}
	p.visit("/ui/users/alice")
	p.must("consume,publish", "orders*", "billing*")
	p.checkReadable()
	p.size(400)
	if n := p.evaluate(`document.documentElement.scrollWidth`); n > 400 {
		t.Errorf("the view is %d pixels wide in a window of 400", n)
	}
	p.screenshot("user-narrow")
	p.size(1200)
	p.submit("form.who button")
	p.isAt("/login")
	p.must("You have logged out.")
	p.visit("/")
	p.isAt("/login")

	p.logIn("alice", "secret of alice")
	p.visit("/ui/topics/orders")
	p.await(`document.getElementById('state').textContent === 'live' && document.getElementById('state').className === 'state live'`)
	b.administer("user", "delete", "alice", "-execute")
	p.await(`document.getElementById('state').textContent !== 'live'`)
	p.await(`document.getElementById('state').textContent === 'log in again'`)
	p.submit("#state a")
	p.isAt("/login")
	var to string
	if p.do(chromedp.Value("input[name=to]", &to, chromedp.ByQuery)); to != "/ui/topics/orders" {
		t.Errorf("the form leads to %q", to)
	}
	p.visit("/ui/topics/orders")
	p.isAt("/login")
}

// The views of users are readable, dark, light and narrow, and so is the log-in.
func TestViewsOfUsers(t *testing.T) {
	b := start(t)
	p := open(b)
	p.visit("/ui/users")
	p.must("There is no user yet", "admin user add")
	p.checkAccessible()
	b.administer("user", "add", "root")
	b.administer("grant", "root", "all", "*", "-group", "*")
	b.administer("user", "add", "alice")
	b.administer("grant", "alice", "publish", "orders*")
	b.administer("token", "add", "alice", "-expires", "90d")
	p.visit("/login")
	p.logIn("root", "secret of alice")
	for _, path := range []string{"/ui/users", "/ui/users/alice"} {
		p.size(1200)
		p.visit(path)
		p.must("alice", "admin ", "-user root")
		p.checkAccessible()
		for _, scheme := range []string{"dark", "light"} {
			p.scheme(scheme)
			p.checkReadable()
			p.screenshot("users-" + fmt.Sprint(len(path)) + "-" + scheme)
		}
		p.size(400)
		p.screenshot("users-" + fmt.Sprint(len(path)) + "-narrow")
		if n := p.evaluate(`document.documentElement.scrollWidth`); n > 400 {
			t.Errorf("%s is %d pixels wide in a window of 400", path, n)
		}
	}
	var cookies []*network.Cookie
	p.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		cookies, err = network.GetCookies().Do(ctx)
		return err
	}))
	if len(cookies) == 0 {
		t.Error("there is no cookie")
	}
	for _, c := range cookies { // those of other tests, too: browsers send them to every port
		if !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict {
			t.Errorf("cookie %+v", c)
		}
	}
}
