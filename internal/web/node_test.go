package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"mbus/internal/cluster"
	"mbus/internal/tcpserver"
)

// A nodeConn is the connection of a client at an address.
type nodeConn struct {
	tcpserver.Conn
	from string
}

func (c nodeConn) RemoteAddrPort() netip.AddrPort { return netip.MustParseAddrPort(c.from) }
func (c nodeConn) LocalAddr() net.Addr            { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(near)) }
func (c nodeConn) ServerName() (string, bool)     { return "", false }

// A statedCluster has a report.
type statedCluster struct{ report cluster.Report }

func (c *statedCluster) Report(context.Context) cluster.Report { return c.report }
func (c *statedCluster) Remove(context.Context, int32) error   { return cluster.ErrNotNow }
func (c *statedCluster) own(owner int32, problems ...string) {
	c.report.Owner, c.report.Problems = owner, problems
}

// aNode is node 2 of a cluster whose owner answers HEAD /nodes with a status.
func aNode(t *testing.T) (n *Node, c *statedCluster, status *int, owns *bool) {
	c = &statedCluster{cluster.Report{Owner: 1, Epoch: 7, Paused: 1.5, Nodes: []cluster.NodeReport{{Node: 1, State: cluster.Up, Version: "v"}, {Node: 2, State: cluster.Gone, Lag: 3}}}}
	status, owns = new(int), new(bool)
	*status = http.StatusOK
	n = NewNode(NodeOptions{
		Cluster: c, Number: 2, Version: "1.2.3", Hosts: []string{"bus.example"}, Owns: func() bool { return *owns },
		Ask: func(_ tcpserver.Conn, r *http.Request, method, path string) (*http.Response, error) {
			if method != http.MethodHead || path != "/nodes" || r.Header.Get("Authorization") != "Bearer x" {
				t.Errorf("it asks %s %s as %q", method, path, r.Header.Get("Authorization"))
			}
			if *status == 0 {
				return nil, errors.New("no answer")
			}
			return &http.Response{StatusCode: *status, Header: http.Header{"Www-Authenticate": {"Basic"}}}, nil
		},
	})
	return n, c, status, owns
}

func askNode(n *Node, from, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "bus.example"
	r.Header.Set("Authorization", "Bearer x")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	h := n.Local(r, nodeConn{from: from})
	if h == nil {
		return nil
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	near = "127.0.0.1:1000"
	afar = "192.0.2.1:1000"
)

// A node answers by itself what is about it, and only that; and of that its Server says more where it owns the topics.
func TestANodeAnswersWhatIsAboutIt(t *testing.T) {
	n, _, _, owns := aNode(t)
	for _, path := range []string{"/topics", "/", "/openapi.json", "/nodes/2", "/livez/", "/ui/health"} {
		if askNode(n, near, path) != nil {
			t.Errorf("it answers %s", path)
		}
	}
	if r := httptest.NewRequest("DELETE", "/nodes", nil); n.Local(r, nodeConn{from: near}) != nil {
		t.Error("it answers another method")
	}
	for path, want := range map[string]string{
		"/livez": "ok\n", "/readyz": "ok\n", "/healthz": `{"status":"ok"}` + "\n", "/nodes": `"epoch":7`, "/metrics": "mbus_cluster_node_up{node=\"2\"} 0\n",
	} {
		w := askNode(n, afar, path)
		if w == nil || w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %v", path, w)
		}
	}
	for _, want := range []string{"mbus_cluster_owner 1\n", "mbus_cluster_owns 0\n", "mbus_cluster_paused_seconds_total 1.5\n", "mbus_cluster_node_lag_entries{node=\"2\"} 3\n", "go_goroutines "} {
		if text := askNode(n, afar, "/metrics").Body.String(); !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if w := askNode(n, afar, "/livez", "X", "y"); w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Error("it sets no policies")
	}
	*owns = true
	for _, path := range []string{"/readyz", "/healthz", "/metrics", "/nodes"} {
		if askNode(n, afar, path) != nil {
			t.Errorf("the owner answers %s as a node", path)
		}
	}
	if askNode(n, afar, "/livez").Code != 200 {
		t.Error("it does not live")
	}
}

// What a client may see of the cluster the owner decides.
func TestTheOwnerDecidesWhatANodeShows(t *testing.T) {
	n, c, status, _ := aNode(t)
	for _, path := range []string{"/nodes", "/metrics"} {
		for from, want := range map[int]int{200: 200, 401: 401, 403: 403, 0: 503} {
			*status = from
			w := askNode(n, near, path)
			if w.Code != want || want != 200 && strings.Contains(w.Body.String(), "epoch") {
				t.Errorf("%s: %d of the owner becomes %d: %s", path, from, w.Code, w.Body)
			}
			if want == 401 && w.Header().Get("WWW-Authenticate") != "Basic" {
				t.Error("it does not say how to log in")
			}
		}
	}
	c.own(0, "no node owns the topics")
	*status = -1 // nobody is asked
	for from, want := range map[string]int{near: 200, afar: 503} {
		for _, path := range []string{"/nodes", "/metrics"} {
			if w := askNode(n, from, path); w.Code != want {
				t.Errorf("without an owner %s is %d for %s", path, w.Code, from)
			}
		}
	}
}

// Without an owner a node says so to all that watch over it, and to people.
func TestANodeSaysThatThereIsNoOwner(t *testing.T) {
	n, c, _, _ := aNode(t)
	c.own(1, "node 3 is gone")
	if w := askNode(n, afar, "/healthz"); w.Code != 200 || !strings.Contains(w.Body.String(), statusDegraded) || strings.Contains(w.Body.String(), "node 3") {
		t.Errorf("%d, %s", w.Code, w.Body)
	}
	c.own(0, "no node owns the topics")
	for _, path := range []string{"/readyz", "/healthz"} {
		w := askNode(n, afar, path)
		if w.Code != 503 || !strings.Contains(w.Body.String(), "No node owns the topics now") || path == "/readyz" && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, %s", path, w.Code, w.Body)
		}
	}
	if w := askNode(n, afar, "/readyz?exclude=cluster"); w.Code != 200 {
		t.Errorf("%d, %s", w.Code, w.Body)
	}
	if w := askNode(n, afar, "/livez"); w.Code != 200 {
		t.Error("it does not live")
	}
	for from, shows := range map[string]bool{near: true, afar: false} {
		w := askNode(n, from, "/ui/groups", "Sec-Fetch-Mode", "navigate")
		if w.Code != 503 || !strings.Contains(w.Body.String(), "No node owns") || strings.Contains(w.Body.String(), "<td>gone</td>") != shows {
			t.Errorf("from %s: %d, %s", from, w.Code, w.Body)
		}
	}
	if askNode(n, near, "/topics/orders") != nil {
		t.Error("a program gets the page")
	}
}

// The host of a request is checked here as by the owner.
func TestANodeIsNotMisledByAName(t *testing.T) {
	n, _, _, _ := aNode(t)
	r := httptest.NewRequest("GET", "/healthz", nil)
	r.Host = "attacker.example"
	w := httptest.NewRecorder()
	n.Local(r, nodeConn{from: near}).ServeHTTP(w, r)
	if w.Code != http.StatusMisdirectedRequest {
		t.Error(w.Code)
	}
}
