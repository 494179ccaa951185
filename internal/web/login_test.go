package web

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// aBrowser are headers of a browser that shows the answer to a form of the broker's page.
func (r *rig) aBrowser(more ...string) []string {
	return append([]string{
		"User-Agent", "Mozilla/5.0", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin", "Origin", r.url,
		"Content-Type", "application/x-www-form-urlencoded",
	}, more...)
}

// anonymous has requests not be the operator's.
func (r *rig) anonymous() { r.secret = "" }

// logIn sends the form, and returns the cookie, which must be as browsers and the broker want it.
func (r *rig) logIn(name, password string) string {
	r.Helper()
	form := url.Values{"user": {name}, "password": {password}, "to": {"/ui/groups"}}
	status, answer, h := r.do("POST", "/login", form.Encode(), r.aBrowser()...)
	if status != 303 || h.Get("Location") != "/ui/groups" {
		r.Fatalf("status %d, to %q: %s", status, h.Get("Location"), answer)
	}
	cookie, attributes, _ := strings.Cut(h.Get("Set-Cookie"), "; ")
	if attributes != "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict" {
		r.Fatalf("cookie %q", attributes)
	}
	return cookie
}

func TestABrowserLogsInByTheForm(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "m")
	r.addUser("alice", "open sesame", "describe topic orders")
	r.anonymous()
	browser := r.aBrowser()
	status, _, h := r.do("GET", "/ui/topics/orders?partition=0", "", browser...)
	if status != 303 || h.Get("Location") != "/login?to=%2Fui%2Ftopics%2Forders%3Fpartition%3D0" || h.Get("Www-Authenticate") != "" {
		t.Fatalf("without a log-in: status %d to %q, %q", status, h.Get("Location"), h["Www-Authenticate"])
	}
	if status, answer, h := r.do("GET", "/ui/numbers", "", "User-Agent", "Mozilla/5.0", "Sec-Fetch-Mode", "cors"); status != 401 || strings.Contains(fmt.Sprint(h["Www-Authenticate"]), "Basic") {
		t.Errorf("a script is asked by %q: status %d: %s", h["Www-Authenticate"], status, answer)
	}
	if status, answer, h := r.do("GET", "/ui/groups", "", "User-Agent", "Mozilla/5.0", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"); status != 200 || !strings.Contains(answer, `content="0; url=/ui/groups"`) || h.Get("Location") != "" {
		t.Errorf("behind a link on another site: status %d: %s", status, answer)
	}
	form := r.must(200, "GET", "/login?to=/ui/groups", "", browser...)
	for _, want := range []string{`name="to" value="/ui/groups"`, `type="password"`, `action="/login"`} {
		if !strings.Contains(form, want) {
			t.Errorf("the form lacks %s", want)
		}
	}
	for _, wrong := range []string{"user=alice&password=x", "user=mallory&password=open+sesame", "user=&password=", "user=alice"} {
		status, answer, h := r.do("POST", "/login", wrong, browser...)
		if status != 401 || !strings.Contains(answer, "The user or the password is wrong.") || h.Get("Set-Cookie") != "" || strings.Contains(fmt.Sprint(h["Www-Authenticate"]), "Basic") {
			t.Errorf("%s: status %d, %v: %s", wrong, status, h, answer)
		}
	}
	cookie := r.logIn("alice", "open sesame")
	_, before := r.broker.Refused()
	page := r.must(200, "GET", "/ui/topics/orders", "", r.aBrowser("Cookie", cookie)...)
	r.must(200, "GET", "/", "", r.aBrowser("Cookie", cookie)...)
	live := r.send("GET /ui/numbers HTTP/1.1\r\nHost: " + r.host + "\r\nCookie: " + cookie + "\r\n\r\n")
	if line, err := bufio.NewReader(live.response(200).Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		t.Errorf("numbers: %q, %v", line, err)
	}
	live.reset()
	if _, refused := r.broker.Refused(); refused != before {
		t.Errorf("the audit trail says %d times that views were refused something", refused-before)
	}
	for _, want := range []string{`href="/ui/users/alice"`, "Log out", "You may not consume this topic"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, hidden := range []string{"/publish", "/configure", "/delete", "/ui/health", "/metrics"} {
		if strings.Contains(page, hidden) {
			t.Errorf("the page has %s, which alice may not use", hidden)
		}
	}
	if got := r.must(200, "GET", "/topics", "", "Cookie", cookie); !strings.Contains(got, `"orders"`) {
		t.Errorf("the API with the cookie: %s", got)
	}
	status, _, h = r.do("POST", "/logout", "", r.aBrowser("Cookie", cookie)...)
	if status != 303 || !strings.Contains(h.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("log-out: status %d, cookie %q", status, h.Get("Set-Cookie"))
	}
	r.must(401, "GET", "/topics", "", "Cookie", cookie)
}

// A page of another site can't have a browser log in, log out, or send a cookie to change something.
func TestNoOtherSiteUsesALogIn(t *testing.T) {
	r := newRig(t, Options{})
	r.addUser("alice", "secret", "all topic *")
	r.anonymous()
	cookie := r.logIn("alice", "secret")
	for _, from := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "", "Origin", "http://attacker.example"}} {
		for path, body := range map[string]string{"/login": "user=alice&password=secret", "/logout": "x=", "/ui/create": "topic=made"} {
			status, answer, h := r.do("POST", path, body, r.aBrowser(append([]string{"Cookie", cookie, "Origin", "http://attacker.example"}, from...)...)...)
			if status != 403 || h.Get("Set-Cookie") != "" {
				t.Errorf("%s from %q: status %d: %s", path, from, status, answer)
			}
		}
	}
	r.must(200, "GET", "/topics", "", "Cookie", cookie)
	for _, to := range []string{"//attacker.example", "https://attacker.example/", `/\attacker.example`, "/\tx", "javascript:alert(1)", "http:x", "/login", "x", "", "/ /", "/%zz", "/\nSet-Cookie: x"} {
		if got := destination(to); got != "/" {
			t.Errorf("%q leads to %q", to, got)
		}
	}
	if got := destination("/ui/topics/a%20b?from=%2B1"); got != "/ui/topics/a%20b?from=%2B1" {
		t.Errorf("leads to %q", got)
	}
}

// Whatever cookie a browser has before, the session gets a secret that nobody knew, and the earlier one ends.
func TestALogInMakesANewSession(t *testing.T) {
	r := newRig(t, Options{})
	r.addUser("alice", "secret")
	r.anonymous()
	first := r.logIn("alice", "secret")
	name, _, _ := strings.Cut(first, "=")
	for _, planted := range []string{first, name + "=planted", "__Host-" + first} {
		_, _, h := r.do("POST", "/login", "user=alice&password=secret", r.aBrowser("Cookie", planted)...)
		next, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
		if next == "" || next == planted {
			t.Errorf("with %q: got %q", planted, next)
		}
		r.must(401, "GET", "/topics", "", "Cookie", planted)
		r.must(200, "GET", "/topics", "", "Cookie", next)
	}
	_, _, h := r.do("POST", "/login", "user=alice&password=secret", r.aBrowser("Origin", "https://"+r.host)...)
	if got := h.Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-mbus") || !strings.HasSuffix(got, "; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict") {
		t.Errorf("over TLS: %q", got)
	}
	for range 2 * broker.SessionsOfUser {
		r.logIn("alice", "secret")
	}
	if n := r.server.sessions.count(); n != broker.SessionsOfUser {
		t.Errorf("%d sessions", n)
	}
	r.restart()
	r.must(401, "GET", "/topics", "", "Cookie", first)
}

// A cookie counts where nobody else reads it, and from another machine only the one that nobody else can set.
func TestWhereACookieCounts(t *testing.T) {
	r := newRig(t, Options{})
	r.addUser("alice", "secret")
	r.anonymous()
	_, secret, _ := strings.Cut(r.logIn("alice", "secret"), "=")
	here, there := netip.MustParseAddrPort("127.0.0.1:5"), netip.MustParseAddrPort("192.0.2.7:5")
	for _, x := range []struct {
		from      netip.AddrPort
		isPrivate bool
		name      string
		counts    bool
	}{
		{here, true, cookiePlain, true},
		{here, true, cookieSecure, true},
		{here, false, cookiePlain, false},
		{there, true, cookieSecure, true},
		{there, true, cookiePlain, false},
		{there, false, cookieSecure, false},
	} {
		c := &call{
			server: r.server, conn: &conn{client: broker.Client{Address: x.from, IsPrivate: x.isPrivate}},
			r: &http.Request{Host: "localhost", Header: http.Header{"Cookie": {x.name + "=" + secret}}},
		}
		if counts := sessionOf(c) != nil; counts != x.counts {
			t.Errorf("%s from %v, private %v: counts %v", x.name, x.from, x.isPrivate, counts)
		}
	}
}

func TestSessionsEndByTimeAndByNumber(t *testing.T) {
	users := auth.New(func(string, []byte) error { return nil })
	now := time.Now()
	s := newSessions()
	first := s.begin(auth.Identity{}, now)
	if s.find(first, users.Users, now) == nil || s.find(first, users.Users, now.Add(broker.SessionTime)) != nil || s.find(first+"x", users.Users, now) != nil || s.find("", users.Users, now) != nil {
		t.Error("a session is not valid for its time")
	}
	for i := range broker.Sessions + 10 {
		s.begin(auth.Identity{Name: fmt.Sprint(i)}, now.Add(time.Duration(i)))
	}
	if n := s.count(); n != broker.Sessions {
		t.Errorf("%d sessions", n)
	}
	s.sweep(users.Users, now)
	if n := s.count(); n != 0 {
		t.Errorf("%d sessions of users that are not there", n)
	}
}

// A connection that was admitted with something that is not valid any more is reset, whatever it does.
func TestAConnectionEndsWithItsUser(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "m")
	bob := r.addUser("bob", "secret", "all topic *")
	r.addUser("alice", "secret", "consume topic orders", "consume group *")
	r.anonymous()
	cookie := r.logIn("alice", "secret")
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret")) + "\r\n"
	open := func(request string) *bufio.Reader {
		conn := r.raw(request)
		in := bufio.NewReader(conn)
		if _, err := in.Peek(1); err != nil && !strings.Contains(request, "lease") {
			t.Fatalf("%q: %v", request, err)
		}
		return in
	}
	begin := " HTTP/1.1\r\nHost: " + r.host + "\r\n"
	conns := map[string]*bufio.Reader{
		"follow":     open("GET /topics/orders/messages?group=g&follow" + begin + basic + "\r\n"),
		"events":     open("GET /topics/orders/messages?from=0&follow&format=sse" + begin + basic + "\r\n"),
		"numbers":    open("GET /ui/numbers" + begin + "Cookie: " + cookie + "\r\n\r\n"),
		"keep-alive": open("GET /version" + begin + basic + "\r\n"),
		"lease":      open("POST /topics/orders/groups/leases/lease?max=1&wait=5m" + begin + basic + "Content-Length: 0\r\n\r\n"),
	}
	other := open("GET /version" + begin + "Authorization: Bearer " + bob.secret + "\r\n\r\n")
	r.server.EndInvalid()
	for name, in := range conns {
		if in.Buffered() == 0 && name != "lease" {
			t.Errorf("%s ended with a user that is valid", name)
		}
	}
	if !r.has("alice", len(conns)) {
		t.Fatalf("connections: %+v", r.server.Connections())
	}
	if err := r.editor().Change("alice", func(u *auth.User, _ bool) error {
		u.Revoke(permissionsOf(t, "consume topic orders")...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.must(401, "GET", "/topics", "", "Cookie", cookie)
	r.server.EndInvalid()
	for name, in := range conns {
		if _, err := in.Discard(1 << 30); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s goes on: %v", name, err)
		}
	}
	if r.server.sessions.count() != 0 {
		t.Error("the session goes on")
	}
	if status, _ := r.answer(other); status != 200 || !r.has("bob", 1) {
		t.Error("the connection of another user ended, too")
	}
}

// has reports whether so many connections are shown to be a user's.
func (r *rig) has(user string, n int) bool {
	for _, c := range r.server.Connections() {
		if c.User == user {
			n--
		}
	}
	return n == 0
}

// Users who change themselves get an answer, and log in again.
func TestAUserChangesItsOwnPassword(t *testing.T) {
	r := newRig(t, Options{})
	alice := r.addUser("alice", "old", "publish topic o*")
	r.addUser("bob", "old")
	r.anonymous()
	r.mustAs(alice, 400, "PUT", "/users/alice", `{"password":"new"}`, "Content-Type", typeJSON)
	r.mustAs(alice, 403, "PUT", "/users/alice", `{"password":"new","old":"wrong"}`, "Content-Type", typeJSON)
	r.mustAs(alice, 400, "PUT", "/users/alice", `{"old":"old"}`, "Content-Type", typeJSON) // it would have no password
	r.mustAs(alice, 400, "PUT", "/users/alice", `{"old":"old","credentials":[]}`, "Content-Type", typeJSON)
	r.mustAs(alice, 403, "PUT", "/users/bob", `{"password":"new","old":"old"}`, "Content-Type", typeJSON)
	r.mustAs(alice, 403, "GET", "/users/bob", "")
	r.mustAs(alice, 403, "GET", "/users", "")
	r.mustAs(alice, 200, "GET", "/users/alice", "")
	if got := r.mustAs(alice, 200, "PUT", "/users/alice", `{"password":"new","old":"old"}`, "Content-Type", typeJSON); strings.Contains(got, "new") || strings.Contains(got, "storedKey") {
		t.Errorf("the answer has the password, or what is kept of it: %s", got)
	}
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+password))
	}
	r.must(401, "GET", "/users/alice", "", "Authorization", basic("old"))
	r.must(200, "GET", "/users/alice", "", "Authorization", basic("new"))
}

// Names of users are shown as text, and secrets are in no log.
func TestNamesAndSecretsOfUsers(t *testing.T) {
	r := newRig(t, Options{})
	var log bytes.Buffer
	r.reopen(func(o *broker.Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	const name = `<script>alert</script>"&{{.}}`
	r.operate()
	at := "/users/" + url.PathEscape(name)
	r.must(201, "PUT", at, `{"password":"password1"}`, "Content-Type", typeJSON)
	r.must(200, "POST", at+"/grant", `{"permissions":[{"operations":["admin"],"kind":"topic","pattern":"*"},{"operations":["publish"],"kind":"topic","pattern":"</td><script>*"}]}`, "Content-Type", typeJSON)
	token := get[newToken](r, "POST", at+"/tokens", `{"expires":"90d"}`)
	if !auth.LooksLikeToken(token.Token) || token.Expires == nil {
		t.Errorf("token %+v", token)
	}
	operator := r.secret
	r.anonymous()
	cookie := r.logIn(name, "password1")
	r.do("POST", "/login", "user="+url.QueryEscape(name)+"&password=password2", r.aBrowser()...)
	r.do("GET", "/topics", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("x:password3")))
	r.do("GET", "/topics", "", "Authorization", "Basic password4")
	r.do("GET", "/topics", "", "Authorization", "Bearer "+token.Token[1:])
	for _, path := range []string{"/", "/ui/users", "/ui/users/" + url.PathEscape(name), "/ui/groups"} {
		page := r.must(200, "GET", path, "", r.aBrowser("Cookie", cookie)...)
		if strings.Contains(page, "<script>") || !strings.Contains(page, "&lt;script&gt;alert") {
			t.Errorf("%s shows a name as markup:\n%s", path, page)
		}
	}
	r.secret = operator
	r.must(200, "DELETE", at+"?execute", "")
	r.stop()
	_, secret, _ := strings.Cut(cookie, "=")
	for _, secret := range []string{"password1", "password2", "password3", "password4", token.Token[5:], secret, operator, base64.StdEncoding.EncodeToString([]byte("x:password3"))} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log.String())
		}
	}
	for _, want := range []string{"action=create kind=user", `action="log in" kind=user name="<script>`, `by=token client=`, "action=change kind=user", "granted=", "tokens_added=", "action=delete kind=user"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the audit trail lacks %s:\n%s", want, log.String())
		}
	}
}

// Each guess counts, by the form as by the header, so that the next answer comes later.
func TestGuessesAreCounted(t *testing.T) {
	r := newRig(t, Options{})
	r.addUser("alice", "secret")
	r.anonymous()
	r.must(401, "POST", "/login", "user=alice&password=x", r.aBrowser()...)
	r.must(401, "GET", "/topics", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:x")))
	r.must(401, "GET", "/topics", "", "Authorization", "Bearer x")
	if failed, _ := r.broker.Refused(); failed != 3 {
		t.Errorf("%d log-ins have failed", failed)
	}
}

// Plain requests are those of their user, and of nobody else on the same connection.
func TestPlainRequestsNeedAUser(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "m")
	conn := r.raw(plainPost("orders", "", "open"))
	in := bufio.NewReader(conn)
	if status, body := r.answer(in); status != 200 {
		t.Fatalf("without users: status %d: %s", status, body)
	}
	alice := r.addUser("alice", "secret", "publish topic orders")
	bob := r.addUser("bob", "secret", "publish topic bob")
	r.anonymous()
	for _, x := range []struct {
		header string
		status int
	}{
		{header("Bearer " + alice.secret), 200},
		{header("bearer  " + alice.secret), 200},
		{header("Bearer " + bob.secret), 403},
		{"", 401},
		{header("Bearer " + alice.secret), 200},
		{header(basic("alice:secret")), 200},
		{header(basic("bob:secret")), 403},
		{header("Bearer x"), 401},
		{header("Digest x"), 401},
		{header("Basic x"), 400},
		{header("Bearer "+alice.secret) + header("Bearer "+bob.secret), 400},
	} {
		for _, first := range []string{"", plainPost("orders", header("Bearer "+alice.secret), "first"), plainPost("orders", header(basic("alice:secret")), "first")} {
			in := bufio.NewReader(r.raw(first + plainPost("orders", x.header, "m") + plainPost("orders", x.header, "again")))
			if first != "" {
				r.answer(in)
			}
			for range 2 {
				if status, body := r.answer(in); status != x.status {
					t.Errorf("%q behind %q: status %d: %s", x.header, first, status, body)
				}
				if x.status != 200 {
					break // the connection ends with the body, which was not read
				}
			}
		}
	}
	if _, err := fmt.Fprint(conn, plainPost("orders", "", "denied")); err != nil {
		t.Fatal(err)
	}
	if status, body := r.answer(in); status != 401 {
		t.Errorf("the connection of before the first user: status %d: %s", status, body)
	}
	r.server.EndInvalid()
}

// What is read of a client before it has logged in takes little memory, and ends with a problem.
func TestTheFormIsShort(t *testing.T) {
	r := newRig(t, Options{})
	r.addUser("alice", "secret")
	r.anonymous()
	r.must(413, "POST", "/login", "user=alice&password="+strings.Repeat("x", broker.LoginForm), r.aBrowser()...)
	r.must(431, "GET", "/topics", "", "Authorization", "Bearer "+strings.Repeat("x", 80<<10))
	if status, _, _ := r.do("PUT", "/topics/t", strings.Repeat("x", 1<<20)); status != 401 {
		t.Errorf("a large body: status %d", status)
	}
}

func FuzzAuthorization(f *testing.F) {
	r := newRig(f, Options{})
	alice := r.addUser("alice", "secret", "publish topic *")
	header := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	for _, seed := range []string{header, "Bearer " + alice.secret, "Bearer " + r.secret, "bearer", "Basic", "Basic Og==", "Basic YTo=", " ", "Digest x", "Bearer  \x00", "BASIC " + header[6:], "BASIC YWxpY\r2U6c2VjcmV0"} {
		f.Add(seed, "mbus=x")
	}
	f.Add("", "mbus="+strings.Repeat("x", 100))
	f.Add("", `__Host-mbus="x"; mbus=`)
	right := map[string]string{header[6:]: "alice", alice.secret: "alice", r.secret: auth.OperatorName}
	closed := make(chan struct{}) // failures are not slowed
	close(closed)
	f.Fuzz(func(t *testing.T, header, cookie string) {
		client := broker.Client{IsPrivate: true}
		id, err := r.server.identify(&conn{client: client}, header, closed)
		tried := &conn{client: client}
		quick, ok := r.server.identifyPlain(tried, header)
		if ok && (err != nil || quick.Name != id.Name || tried.wrong != "") {
			t.Fatalf("%q is %q, and on the way of plain requests %q", header, id.Name, quick.Name)
		}
		again, errAgain := r.server.identify(tried, header, closed)
		if again.Name != id.Name || fmt.Sprint(errAgain) != fmt.Sprint(err) || tried.wrong != "" && tried.wrong != header {
			t.Fatalf("%q is %q, %v, and behind the way of plain requests %q, %v", header, id.Name, err, again.Name, errAgain)
		}
		_, secret, _ := strings.Cut(header, " ")
		if want := right[strings.TrimLeft(secret, " ")]; header != "" && err == nil && (id.Name != want || want == "") {
			t.Fatalf("%q is %q", header, id.Name)
		}
		c := &call{server: r.server, conn: &conn{client: client}, r: &http.Request{Host: "localhost:9992", Header: http.Header{"Cookie": {cookie}}}}
		if sessionOf(c) != nil {
			t.Fatalf("cookie %q is a session", cookie)
		}
	})
}
