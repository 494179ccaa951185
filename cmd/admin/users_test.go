package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mbus/internal/auth"
	"mbus/test/brokertest"
)

// A usersServer answers as a broker's port for HTTP clients does, and notes what it is asked.
type usersServer struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string // method, path, authorization and body
	answers map[string]string
	token   string                   // the only one that may do anything; "" if everybody may
	next    func() map[string]string // gives the answers behind a request, nil for no change; it is nil if they stay
}

// changes has the answers change behind some requests, of which f may look at those before.
func (s *usersServer) changes(f func() map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = f
}

func serveUsers(t *testing.T, answers map[string]string) *usersServer {
	s := &usersServer{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *usersServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	request := r.Method + " " + r.URL.RequestURI()
	s.asked = append(s.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s", request, r.Header.Get("Authorization"), body)))
	w.Header().Set("Content-Type", "application/problem+json")
	answer, found := s.answers[request]
	switch {
	case s.token != "" && r.Header.Get("Authorization") != "Bearer "+auth.OperatorTokenAt(s.token, s.Listener.Addr().(*net.TCPAddr).AddrPort()):
		w.WriteHeader(http.StatusUnauthorized)
		answer = `{"code":"DENIED","detail":"log in first"}`
	case !found:
		w.WriteHeader(http.StatusNotFound)
		answer = `{"code":"NOTFOUND","detail":"unknown user"}`
	case strings.Contains(answer, `"code"`):
		w.WriteHeader(http.StatusConflict)
	}
	_, _ = io.WriteString(w, answer)
	if s.next != nil {
		if answers := s.next(); answers != nil {
			s.answers = answers
		}
	}
}

func (s *usersServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// flags are those with which admin finds the server and no operator token.
func (s *usersServer) flags(t *testing.T, args ...string) []string {
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return append(args, "-hport", port, "-data", t.TempDir())
}

const alice = `{"name":"alice","created":"2026-11-30T10:00:00Z","mechanisms":["SCRAM-SHA-256","SCRAM-SHA-512"],` +
	`"permissions":[{"operations":["consume","publish"],"kind":"topic","pattern":"orders*"},{"operations":["consume"],"kind":"group","pattern":"a\u001bb"}],` +
	`"tokens":[{"id":"0a1b","created":"2026-11-30T10:00:00Z","expires":"2026-12-30T10:00:00Z"}]}`

// Only credentials that fit the password leave the program.
func TestUserIsMadeOfCredentials(t *testing.T) {
	s := serveUsers(t, map[string]string{"PUT /users/alice": "{}", "GET /users?limit=1": `{"users":[]}`})
	out, said, code := admin(t, s.flags(t, "user", "add", "alice", "-generate")...)
	password := strings.TrimSuffix(out, "\n")
	if code != 0 || len(password) < 20 || !strings.Contains(said, `user "alice" is made`) || !strings.Contains(said, "it is the first one") {
		t.Fatalf("%d, %q, %q", code, out, said)
	}
	asked := s.requests()
	if len(asked) != 3 || strings.Contains(strings.Join(asked, " "), password) {
		t.Fatalf("asked %q", asked)
	}
	var sent struct{ Credentials []auth.Credential }
	if err := json.Unmarshal([]byte(asked[2][strings.IndexByte(asked[2], '{'):]), &sent); err != nil {
		t.Fatal(err)
	}
	users := auth.New(func(string, []byte) error { return nil })
	err := users.Change("alice", func(u *auth.User, _ bool) error {
		u.SetCredentials(sent.Credentials...)
		return nil
	})
	if err != nil || len(sent.Credentials) != 2 {
		t.Fatalf("%v of %q", err, asked[2])
	}
	if _, err := users.Password("alice", password, auth.Applicant{}); err != nil {
		t.Errorf("the password does not fit: %v", err)
	}
}

func TestPasswordComesFromTheEnvironmentOrAFile(t *testing.T) {
	s := serveUsers(t, map[string]string{"GET /users/alice": alice, "PUT /users/alice": "{}"})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, code := admin(t, s.flags(t, "user", "password", "alice", "-password-file", file)...); code != 0 || !strings.Contains(said, "is set") {
		t.Errorf("of a file: %d, %q", code, said)
	}
	t.Setenv("MBUS_PASSWORD", "secret")
	if _, said, code := admin(t, s.flags(t, "user", "password", "alice")...); code != 0 || !strings.Contains(said, "is set") {
		t.Errorf("of the environment: %d, %q", code, said)
	}
	if _, said, code := admin(t, s.flags(t, "user", "password", "alice", "-generate")...); code != 2 || !strings.Contains(said, "MBUS_PASSWORD") {
		t.Errorf("two of them: %d, %q", code, said)
	}
	if n := len(s.requests()); n != 5 {
		t.Errorf("asked %q", s.requests())
	}
	t.Setenv("MBUS_PASSWORD", "")
	if _, said, code := admin(t, s.flags(t, "user", "password", "alice")...); code != 1 || !strings.Contains(said, "a password is missing") {
		t.Errorf("none: %d, %q", code, said)
	}
}

func TestCommandsAboutUsersAskWhatTheyMean(t *testing.T) {
	done := map[string]string{
		"GET /users/alice": alice, "DELETE /users/alice": "{}", "DELETE /users/alice?execute": "{}",
		"POST /users/alice/grant": "{}", "POST /users/alice/revoke": "{}", "DELETE /users/alice/tokens/0a1b": "{}",
		"POST /users/alice/tokens": `{"token":"mbus_x","id":"0a1b","expires":"2027-02-28T10:00:00Z"}`,
	}
	for _, c := range []struct{ args, asked, out, said string }{
		{"user delete alice", "DELETE /users/alice", "", `admin: user "alice" would be deleted: -execute does it`},
		{"user delete -execute alice", "DELETE /users/alice?execute", "", `admin: user "alice" is deleted`},
		{
			"grant alice publish,consume orders* -group billing*",
			`POST /users/alice/grant  {"permissions":[{"operations":["consume","publish"],"kind":"topic","pattern":"orders*"},{"operations":["consume"],"kind":"group","pattern":"billing*"}]}`, "",
			"admin: alice may consume,publish topic orders*\nadmin: alice may consume group billing*",
		},
		{
			"grant alice consume a,b",
			`POST /users/alice/grant  {"permissions":[{"operations":["consume"],"kind":"topic","pattern":"a"},{"operations":["consume"],"kind":"topic","pattern":"b"},{"operations":["consume"],"kind":"group","pattern":"default"}]}`,
			"", "admin: alice may consume group default",
		},
		{"revoke alice consume a", `POST /users/alice/revoke  {"permissions":[{"operations":["consume"],"kind":"topic","pattern":"a"}]}`, "", "admin: alice may no longer consume topic a"},
		{"grant alice admin -group g", `POST /users/alice/grant  {"permissions":[{"operations":["admin"],"kind":"group","pattern":"g"}]}`, "", "admin: alice may admin group g"},
		{"token add alice -expires 90d", `POST /users/alice/tokens  {"expires":"90d"}`, "mbus_x\n", `admin: token 0a1b of user "alice", which expires at 2027-02-28`},
		{"token add alice", `POST /users/alice/tokens  {}`, "mbus_x\n", "nobody can see it again"},
		{"token remove alice 0a1b", "DELETE /users/alice/tokens/0a1b", "", "admin: token 0a1b of user \"alice\" is removed"},
	} {
		s := serveUsers(t, done)
		out, said, code := admin(t, s.flags(t, strings.Fields(c.args)...)...)
		if code != 0 || out != c.out || !strings.Contains(said, c.said) {
			t.Errorf("%s: %d, %q, %q", c.args, code, out, said)
		}
		if asked := s.requests(); len(asked) != 1 || asked[0] != c.asked {
			t.Errorf("%s: asked %q, not %q", c.args, asked, c.asked)
		}
	}
}

func TestUsersAreATableOrJSON(t *testing.T) {
	long := strings.Replace(alice, `"orders*"`, `"`+strings.Repeat("x", 100)+`"`, 1)
	s := serveUsers(t, map[string]string{"GET /users": `{"users":[` + long + `]}`, "GET /users/alice": alice})
	out, said, code := admin(t, s.flags(t, "users")...)
	lines := strings.Split(out, "\n")
	if code != 0 || said != "" || len(lines) != 3 || len(lines[1]) != 80 || !strings.HasSuffix(lines[1], "xxx...") || !strings.HasPrefix(lines[1], "alice       1  2026-11-30  consume,publish topic xxx") {
		t.Errorf("%d, %q, %q", code, out, said)
	}
	if out, _, code := admin(t, s.flags(t, "users", "-json")...); code != 0 || out != long+"\n" {
		t.Errorf("as JSON: %d, %q", code, out)
	}
	out, _, code = admin(t, s.flags(t, "user", "show", "alice")...)
	if code != 0 || !strings.Contains(out, "may       consume,publish topic orders*\n") || !strings.Contains(out, `may       consume group "a\x1bb"`+"\n") || !strings.Contains(out, "token     0a1b, expires at ") {
		t.Errorf("%d, %q", code, out)
	}
}

// What the broker refuses is said in its words; a wrong command line asks nothing.
func TestRefusalsOfCommandsAboutUsers(t *testing.T) {
	s := serveUsers(t, map[string]string{
		"GET /users/alice":            alice,
		"DELETE /users/alice?execute": `{"code":"CONFLICT","detail":"the last user can't be deleted"}`,
	})
	for args, want := range map[string]string{
		"user add alice -generate":       `1 admin: user "alice" exists: admin user password alice sets its password`,
		"user password bob -generate":    `1 admin: unknown user "bob": admin users lists them`,
		"user show bob":                  "1 admin: the broker answered -NOTFOUND unknown user: admin users lists them, and admin user add makes one",
		"grant bob publish a":            "1 admin: the broker answered -NOTFOUND unknown user: admin users lists them, and admin user add makes one",
		"token add bob":                  "1 admin: the broker answered -NOTFOUND unknown user: admin users lists them, and admin user add makes one",
		"user delete alice -execute":     "1 admin: the broker answered -CONFLICT the last user can't be deleted",
		"user add a:b -generate":         `2 admin user add: invalid: user name "a:b"`,
		"user add":                       "2 admin user add: NAME is missing: admin user add NAME",
		"user add a b":                   `2 admin user add: unexpected argument "b"`,
		"user alice":                     "2 admin: unknown command \"user alice\"\ntry: admin user add NAME\n",
		"grant alice":                    "2 admin grant: OPERATIONS is missing",
		"grant alice fly a":              `2 admin grant: "fly" is no operation`,
		"grant alice publish":            "2 admin grant: neither TOPICS nor -group is there",
		"grant alice publish a, ":        "2 admin grant: topics \"a,\": one of them is empty",
		"grant alice publish a -group g": "2 admin grant: -group is about describe,consume,admin, and nobody can publish a group",
		"grant alice publish a -group=":  "2 admin grant: invalid value",
		"token add alice -expires never": "2 admin token add: invalid value",
	} {
		_, said, code := admin(t, s.flags(t, strings.Fields(args)...)...)
		if got := fmt.Sprint(code, " ", said); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, not %q", args, got, want)
		}
	}
}

// The operator token logs in where there is no other way, and only on this machine.
func TestOperatorTokenLogsIn(t *testing.T) {
	s := serveUsers(t, map[string]string{"GET /users/alice": alice})
	s.token = auth.NewToken()
	data := t.TempDir()
	name := filepath.Join(data, auth.OperatorFile)
	show := s.flags(t, "user", "show", "alice")
	if _, said, code := admin(t, show...); code != 1 || !strings.Contains(said, "-DENIED log in first; -user logs in, or -data names the data directory of a broker on this machine: it has no token") {
		t.Errorf("without a token: %d, %q", code, said)
	}
	show = append(show, "-data", data)
	if err := os.WriteFile(name, []byte(s.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, code := admin(t, show...); code != 0 {
		t.Errorf("with the token: %d, %q", code, said)
	}
	if err := os.WriteFile(name, []byte(auth.NewToken()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, code := admin(t, show...); code != 1 || !strings.Contains(said, "the operator token is that of another broker or of an earlier start") {
		t.Errorf("with another token: %d, %q", code, said)
	}
	s.token = "" // a broker without users takes anybody, and no wrong token
	if _, said, code := admin(t, show...); code != 0 {
		t.Errorf("a broker without users: %d, %q", code, said)
	}
	t.Setenv("MBUS_TOKEN", "mbus_other")
	if _, _, code := admin(t, show...); code != 0 {
		t.Error("with a token of the environment")
	}
	asked := s.requests()
	if last := asked[len(asked)-1]; !strings.Contains(last, "Bearer mbus_other") {
		t.Errorf("the operator token came before another log-in: %q", last)
	}
}

// On a connection that others may read, nothing is sent: neither a log-in nor credentials.
func TestUsersAreChangedInPrivateOnly(t *testing.T) {
	if !brokertest.OwnNetwork(t) {
		return
	}
	l, err := net.Listen("tcp", brokertest.Foreign+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &usersServer{answers: map[string]string{"GET /users/alice": alice}}
	s.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	s.Start()
	t.Cleanup(s.Close)
	for _, token := range []string{"", "mbus_x"} {
		t.Setenv("MBUS_TOKEN", token)
		_, said, code := admin(t, s.flags(t, "user", "show", "alice", "-host", brokertest.Foreign)...)
		if code != 1 || !strings.Contains(said, "over TLS only, or to a loopback address") || len(s.requests()) != 0 {
			t.Errorf("%d, %q, asked %q", code, said, s.requests())
		}
	}
}

func TestCertificateIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b")
	out, said, code := admin(t, "cert", "-self-signed", "-hosts", "bus.example,192.0.2.1", "-out", dir)
	if code != 0 || !strings.Contains(out, "broker -tls-cert '"+dir+"/cert.pem' -tls-key '"+dir+"/key.pem'\n") || !strings.Contains(said, "-tls-ca '"+dir+"/ca.pem'") {
		t.Errorf("%d, %q, %q", code, out, said)
	}
	key, err := os.Stat(filepath.Join(dir, "key.pem"))
	if err != nil || key.Mode() != 0o600 {
		t.Errorf("the key: %v, %v", key.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if _, said, code := admin(t, "cert", "-self-signed", "-out", dir); code != 1 || !strings.Contains(said, "cert.pem\" exists, and is not overwritten") {
		t.Errorf("again: %d, %q", code, said)
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); err == nil {
		t.Error("a part was written again")
	}
	for _, hosts := range []string{"", "a,", "a b", "bus.example:9990", "-a", "http://a"} {
		if _, said, code := admin(t, "cert", "-self-signed", "-hosts", hosts, "-out", t.TempDir()); code != 2 || !strings.Contains(said, "neither a host name nor an address") {
			t.Errorf("-hosts %q: %d, %q", hosts, code, said)
		}
	}
}
