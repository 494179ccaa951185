package web

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"mbus/internal/auth"
)

// A need is what a request of an operation needs once there are users: permissions, each such as "publish topic orders".
// Without one, each user may send it, and hides is what it shows only to those with permissions.
type need struct {
	path, body  string // a form if the path begins with /ui/, otherwise JSON
	permissions []string
	hides       string
	method      string // if it is another one
}

const everything = "topic *"

// needs are those of all operations but the ones for anyone.
var needs = map[string]need{
	"GET /version":          {path: "/version"},
	"GET /openapi.json":     {path: "/openapi.json"},
	"POST /topics/{topic}":  {path: "/topics/orders", body: "{}", permissions: []string{"publish topic orders"}},
	"PUT /topics/{topic}":   {path: "/topics/orders", body: "{}", permissions: []string{"publish topic orders"}},
	"GET /topics":           {path: "/topics", hides: `"orders"`},
	"POST /topics":          {path: "/topics", body: `{"topic":"made"}`, permissions: []string{"admin topic made"}},
	"GET /topics/{topic}":   {path: "/topics/orders", permissions: []string{"describe topic orders"}},
	"PATCH /topics/{topic}": {path: "/topics/orders", body: `{"partitions":3}`, permissions: []string{"admin topic orders"}},

	"DELETE /topics/{topic}":           {path: "/topics/orders", permissions: []string{"admin topic orders"}},
	"GET /topics/{topic}/messages":     {path: "/topics/orders/messages?group=readers", permissions: []string{"consume topic orders", "consume group readers"}},
	"GET /topics/{topic}/offsets":      {path: "/topics/orders/offsets?time=2026-11-22", permissions: []string{"describe topic orders"}},
	"POST /topics/{topic}/discard":     {path: "/topics/orders.dlq/discard?execute&n=1", permissions: []string{"consume topic orders.dlq", "consume group redrive"}},
	"POST /topics/{topic}/redrive":     {path: "/topics/orders.dlq/redrive?execute&n=1", permissions: []string{"consume topic orders.dlq", "consume group redrive", "publish topic orders"}},
	"GET /groups":                      {path: "/groups", hides: "billing"},
	"GET /groups/{group}":              {path: "/groups/billing", permissions: []string{"describe group billing"}},
	"DELETE /groups/{group}":           {path: "/groups/billing", permissions: []string{"admin group billing"}},
	"POST /groups/{group}/reset":       {path: "/groups/billing/reset?topic=orders&to=0&execute", permissions: []string{"consume topic orders", "consume group billing"}},
	"GET /connections":                 {path: "/connections", permissions: []string{"describe " + everything}},
	"DELETE /connections/{connection}": {path: "/connections/CONNECTION", permissions: []string{"admin " + everything}},
	"GET /nodes":                       {path: "/nodes", permissions: []string{"describe " + everything}},
	"DELETE /nodes/{node}":             {path: "/nodes/3", permissions: []string{"admin " + everything}},

	"GET /topics/{topic}/partitions/{partition}/messages/{offset}": {path: "/topics/orders/partitions/0/messages/0", permissions: []string{"consume topic orders"}},
	"POST /topics/{topic}/groups/{group}/lease":                    {path: "/topics/orders/groups/workers/lease", permissions: []string{"consume topic orders", "consume group workers"}},
	"POST /topics/{topic}/groups/{group}/ack":                      {path: "/topics/orders/groups/workers/ack", body: `{"tokens":[]}`, permissions: []string{"consume topic orders", "consume group workers"}},
	"POST /topics/{topic}/groups/{group}/fail":                     {path: "/topics/orders/groups/workers/fail", body: `{"tokens":[]}`, permissions: []string{"consume topic orders", "consume group workers"}},
	"POST /topics/{topic}/groups/{group}/extend":                   {path: "/topics/orders/groups/workers/extend", body: `{"tokens":[]}`, permissions: []string{"consume topic orders", "consume group workers"}},

	"GET /metrics":                        {path: "/metrics", permissions: []string{"describe " + everything}},
	"GET /debug/pprof/{profile...}":       {path: "/debug/pprof/cmdline", permissions: []string{"admin " + everything}},
	"POST /debug/pprof/{profile...}":      {path: "/debug/pprof/symbol", permissions: []string{"admin " + everything}},
	"GET /users":                          {path: "/users", permissions: []string{"admin " + everything}},
	"GET /users/{user}":                   {path: "/users/bob", permissions: []string{"admin " + everything}},
	"PUT /users/{user}":                   {path: "/users/bob", body: `{"password":"secret"}`, permissions: []string{"admin " + everything}},
	"DELETE /users/{user}":                {path: "/users/bob", permissions: []string{"admin " + everything}},
	"POST /users/{user}/grant":            {path: "/users/bob/grant", body: bobMay, permissions: []string{"admin " + everything}},
	"POST /users/{user}/revoke":           {path: "/users/bob/revoke", body: bobMay, permissions: []string{"admin " + everything}},
	"POST /users/{user}/tokens":           {path: "/users/bob/tokens", body: `{}`, permissions: []string{"admin " + everything}},
	"DELETE /users/{user}/tokens/{token}": {path: "/users/bob/tokens/TOKEN", permissions: []string{"admin " + everything}},

	"GET /{$}":               {path: "/", hides: "orders.eu"},
	"GET /ui/groups":         {path: "/ui/groups", hides: "/ui/groups/billing"},
	"GET /ui/dead":           {path: "/ui/dead", hides: "orders.dlq"},
	"GET /ui/numbers":        {path: "/ui/numbers", method: http.MethodHead},
	"GET /ui/topics/{topic}": {path: "/ui/topics/orders", permissions: []string{"describe topic orders"}},
	"GET /ui/groups/{group}": {path: "/ui/groups/billing", permissions: []string{"describe group billing"}},
	"GET /ui/dead/{topic}":   {path: "/ui/dead/orders.dlq", permissions: []string{"consume topic orders.dlq"}},
	"GET /ui/health":         {path: "/ui/health", permissions: []string{"describe " + everything}},
	"GET /ui/users":          {path: "/ui/users", permissions: []string{"admin " + everything}},
	"GET /ui/users/{user}":   {path: "/ui/users/bob", permissions: []string{"admin " + everything}},

	"POST /ui/create":                   {path: "/ui/create", body: "topic=created", permissions: []string{"admin topic created"}},
	"POST /ui/topics/{topic}/publish":   {path: "/ui/topics/orders/publish", body: "value=x", permissions: []string{"publish topic orders"}},
	"POST /ui/topics/{topic}/configure": {path: "/ui/topics/orders/configure", body: "retention=7d", permissions: []string{"admin topic orders"}},
	"POST /ui/topics/{topic}/grow":      {path: "/ui/topics/orders/grow", body: "partitions=3", permissions: []string{"admin topic orders"}},
	"POST /ui/topics/{topic}/delete":    {path: "/ui/topics/orders/delete", body: "x=", permissions: []string{"admin topic orders"}},
	"POST /ui/groups/{group}/reset":     {path: "/ui/groups/billing/reset", body: "topic=orders&to=0&confirm=orders", permissions: []string{"consume topic orders", "consume group billing"}},
	"POST /ui/groups/{group}/delete":    {path: "/ui/groups/billing/delete", body: "x=", permissions: []string{"admin group billing"}},
	"POST /ui/dead/{topic}/redrive":     {path: "/ui/dead/orders.dlq/redrive", body: "n=1&confirm=orders.dlq", permissions: []string{"consume topic orders.dlq", "consume group redrive", "publish topic orders"}},
	"POST /ui/dead/{topic}/discard":     {path: "/ui/dead/orders.dlq/discard", body: "n=1&confirm=orders.dlq", permissions: []string{"consume topic orders.dlq", "consume group redrive"}},
}

const bobMay = `{"permissions":[{"operations":["publish"],"kind":"topic","pattern":"b*"}]}`

// send sends a request of the operation.
func (n need) send(r *rig, pattern, secret string, headers ...string) (status int, answer string, h http.Header) {
	kind := typeJSON
	if strings.HasPrefix(n.path, "/ui/") {
		kind = "application/x-www-form-urlencoded"
	}
	if n.body != "" {
		headers = append(headers, "Content-Type", kind)
	}
	if secret != "" {
		headers = append(headers, "Authorization", "Bearer "+secret)
	}
	method, _, _ := strings.Cut(pattern, " ")
	return r.do(cmp.Or(n.method, method), n.path, n.body, headers...)
}

// less are lists of permissions that each lack one, and have all others of its pattern.
func (n need) less() (all [][]string) {
	for i, p := range n.permissions {
		name, of, _ := strings.Cut(p, " ")
		operation, _ := auth.ParseOperations(name)
		others := auth.AllOperations &^ operation &^ auth.Describe
		if strings.HasPrefix(of, "group ") {
			others &^= auth.Publish
		}
		lacks := slices.Delete(slices.Clone(n.permissions), i, i+1)
		if operation != auth.Describe {
			lacks = append(lacks, others.String()+" "+of)
		}
		all = append(all, lacks)
	}
	return all
}

// Each operation asks for a log-in and for its permissions, and takes no more.
func TestEachOperationNeedsItsPermissions(t *testing.T) {
	r := newRig(t, Options{Debug: true, Cluster: newNodesOfTest()})
	r.publish("orders", "first", "second")
	r.publish("orders.eu", "first")
	r.letters("a", "b", "c", "d", "e", "f", "g", "h")
	r.must(200, "POST", "/groups/billing/reset?topic=orders&to=0&execute", "")
	bob := r.addUser("bob", "secret", "publish topic b*")
	may := func(permissions ...string) string {
		err := r.editor().Change("user", func(u *auth.User, _ bool) error {
			u.Permissions, u.Tokens = permissionsOf(r, permissions...), nil
			r.secret, _ = u.AddToken(0)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		secret := r.secret
		r.secret = ""
		return secret
	}
	connection := r.connection()
	for _, pattern := range slices.Sorted(maps.Keys(r.server.router.operations)) {
		n, known := needs[pattern]
		op := r.server.router.operations[pattern]
		if op.audience != forUsers {
			if known {
				t.Errorf("%s needs no user", pattern)
			}
			continue
		}
		if !known {
			t.Errorf("say in the table of this test what %s needs", pattern)
			continue
		}
		n.path = strings.NewReplacer("CONNECTION", connection, "TOKEN", bob.token).Replace(n.path)
		if status, answer, h := n.send(r, pattern, may("describe topic other")[:0]); status != 401 || len(h["Www-Authenticate"]) != 2 {
			t.Errorf("%s without a log-in: status %d: %s", pattern, status, answer)
		}
		for _, less := range n.less() {
			if status, answer, _ := n.send(r, pattern, may(less...)); status != 403 {
				t.Errorf("%s with %q only: status %d: %s", pattern, less, status, answer)
			}
		}
		if n.permissions == nil {
			status, answer, _ := n.send(r, pattern, may("publish,consume topic other", "consume group other"))
			if status != 200 || n.hides != "" && strings.Contains(answer, n.hides) {
				t.Errorf("%s with permissions for others: status %d: %s", pattern, status, answer)
			}
			n.permissions = []string{"describe topic orders*", "describe group billing"}
		}
		status, answer, _ := n.send(r, pattern, may(n.permissions...))
		if status < 200 || status > 303 || !strings.Contains(answer, n.hides) {
			t.Errorf("%s with %q: status %d: %s", pattern, n.permissions, status, answer)
		}
	}
	for pattern := range needs {
		if r.server.router.operations[pattern] == nil {
			t.Errorf("there is no operation %s", pattern)
		}
	}
}
