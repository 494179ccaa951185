package web

import (
	"context"
	"encoding/json"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"mbus/internal/cluster"
	"mbus/internal/tcpserver"
)

// NodeOptions are the settings of a Node.
type NodeOptions struct {
	Cluster Cluster
	Number  int32
	Version string
	Hosts   []string    // as Options have them
	Owns    func() bool // this node owns the topics: its Server says more about it

	// Ask asks the owner in the name of a client, with its log-in.
	Ask func(client tcpserver.Conn, r *http.Request, method, path string) (*http.Response, error)

	Log *slog.Logger
}

// A Node answers HTTP requests about a node of a cluster, whether any node owns the topics or not. What a client may see the
// owner decides. While there is none, clients on the node itself may see all of it.
type Node struct {
	o       NodeOptions
	guard   *guard
	metrics *metrics
}

// NewNode makes a Node.
func NewNode(o NodeOptions) *Node {
	return &Node{o, newGuard(o.Hosts), newMetrics()}
}

// reportTime is how long a node looks for the state of its cluster.
const reportTime = time.Second

func (n *Node) report(r *http.Request) cluster.Report {
	ctx, cancel := context.WithTimeout(r.Context(), reportTime)
	defer cancel()
	return n.o.Cluster.Report(ctx)
}

// Local is what answers a request of a client here; nil where the owner does.
func (n *Node) Local(r *http.Request, client tcpserver.Conn) http.Handler {
	serve := n.find(r)
	if serve == nil {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setPolicies(w.Header())
		err := n.guard.checkHost(r, client)
		if err == nil {
			err = serve(&nodeCall{n, w, r, client})
		}
		if err != nil {
			toProblem(err).write(w)
		}
	})
}

// find finds what answers a request here.
func (n *Node) find(r *http.Request) func(*nodeCall) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	switch path := r.URL.Path; {
	case path == "/livez":
		return (*nodeCall).live
	case n.o.Owns():
		return nil
	case path == "/readyz":
		return (*nodeCall).ready
	case path == "/healthz":
		return (*nodeCall).healthy
	case path == "/metrics":
		return (*nodeCall).numbers
	case path == "/nodes":
		return (*nodeCall).nodes
	case isNavigation(r) && n.report(r).Owner == 0:
		return (*nodeCall).page
	}
	return nil
}

// A nodeCall is one request under way.
type nodeCall struct {
	*Node
	w      http.ResponseWriter
	r      *http.Request
	client tcpserver.Conn
}

const noOwner = "No node owns the topics now. The nodes elect one as soon as most of them run."

func (c *nodeCall) live() error { return c.text(http.StatusOK, "ok\n") }

func (c *nodeCall) text(status int, text string) error {
	c.w.Header().Set("Content-Type", typeText)
	c.w.WriteHeader(status)
	_, err := io.WriteString(c.w, text)
	return err
}

func (c *nodeCall) ready() error {
	if c.report(c.r).Owner == 0 && !slices.Contains(c.r.URL.Query()["exclude"], checkCluster) {
		return &problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: noOwner}
	}
	return c.text(http.StatusOK, "ok\n")
}

// healthy says nothing that needs a permission.
func (c *nodeCall) healthy() error {
	report := c.report(c.r)
	h := healthReport{Status: statusOK}
	switch {
	case report.Owner == 0:
		h = healthReport{Status: statusFailed, Checks: []checkResult{{checkCluster, statusFailed, noOwner}}}
	case len(report.Problems) > 0:
		h.Status = statusDegraded
	}
	status := http.StatusOK
	if h.Status == statusFailed {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(c.w, status, append(mustJSON(h), '\n'))
}

func (c *nodeCall) nodes() error {
	report := c.report(c.r)
	if err := c.mayLook(&report); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, append(mustJSON(report), '\n'))
}

// mayLook fails for a client that may not see the state of the cluster.
func (c *nodeCall) mayLook(report *cluster.Report) error {
	if report.Owner == 0 {
		if c.client.RemoteAddrPort().Addr().IsLoopback() {
			return nil
		}
		return &problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: noOwner + " Nobody can say what this client may see."}
	}
	answer, err := c.o.Ask(c.client, c.r, http.MethodHead, "/nodes")
	switch {
	case err != nil:
		return &problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: "The owner of the topics does not answer."}
	case answer.StatusCode == http.StatusOK:
		return nil
	}
	if challenge := answer.Header.Get("WWW-Authenticate"); challenge != "" {
		c.w.Header().Set("WWW-Authenticate", challenge)
	}
	p := &problem{Status: answer.StatusCode, Code: codeDenied, Detail: "the owner of the topics does not allow it"}
	if p.Status == http.StatusUnauthorized {
		p.Code = codeUnauthenticated
	}
	return p
}

// numbers are the metrics of a node that does not own the topics.
func (c *nodeCall) numbers() error {
	report := c.report(c.r)
	if err := c.mayLook(&report); err != nil {
		return err
	}
	s := newScrape()
	s.set(metricBuild, 1, labels("goversion", runtime.Version(), "version", c.o.Version))
	s.cluster(&report, c.o.Number)
	s.write()
	if err := c.metrics.process(s); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	_, err := c.w.Write(s.text.Bytes())
	return err
}

// mustJSON is a value of ours, which can be written.
func mustJSON(v any) []byte {
	p, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return p
}

// page tells people that there is no owner, in the place of any page.
func (c *nodeCall) page() error {
	report := c.report(c.r)
	if c.mayLook(&report) != nil {
		report.Nodes = nil
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.Header().Set("Retry-After", "1")
	c.w.Header().Set("Refresh", "2")
	c.w.WriteHeader(http.StatusServiceUnavailable)
	return nodePage().Execute(c.w, map[string]any{"Node": c.o.Number, "Text": noOwner, "Nodes": report.Nodes})
}

var nodePage = sync.OnceValue(func() *template.Template { return template.Must(template.New("").Parse(nodePageText)) })

var nodePageText = strings.TrimSpace(`
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>mbus: no owner</title></head>
<body><main><h1>mbus, node {{.Node}}</h1><p>{{.Text}}</p>
{{if .Nodes}}<table><caption>Nodes, as this one knows them</caption><thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">Version</th></tr></thead>
<tbody>{{range .Nodes}}<tr><th scope="row">{{.Node}}</th><td>{{.State}}</td><td>{{.Version}}</td></tr>
{{end}}</tbody></table>{{end}}</main></body></html>
`) + "\n"
