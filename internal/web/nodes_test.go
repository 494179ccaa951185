package web

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/cluster"
)

// nodesOfTest are the nodes of a cluster that tests make up. Node 3 is gone, and can be removed.
type nodesOfTest struct {
	mu      sync.Mutex
	report  cluster.Report
	removed []int32
	failed  error // of Remove
}

func newNodesOfTest() *nodesOfTest {
	return &nodesOfTest{report: cluster.Report{
		Owner: 1, Epoch: 7, Replicas: 1, Problems: []string{"node 3 is gone"},
		Nodes: []cluster.NodeReport{{Node: 1, State: cluster.Up, Ports: map[string]string{"http": "one:9992"}}, {Node: 2, State: cluster.Up}, {Node: 3, State: cluster.Gone}},
	}}
}

func (n *nodesOfTest) Report(context.Context) cluster.Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.report
}

func (n *nodesOfTest) Remove(_ context.Context, node int32) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removed = append(n.removed, node)
	return n.failed
}

func TestNodesAreListed(t *testing.T) {
	r := newRig(t, Options{Cluster: newNodesOfTest()})
	report := get[cluster.Report](r, "GET", "/nodes", "")
	if report.Owner != 1 || len(report.Nodes) != 3 || report.Nodes[2].State != cluster.Gone || report.Nodes[0].Ports["http"] != "one:9992" || !slices.Equal(report.Problems, []string{"node 3 is gone"}) {
		t.Errorf("%+v", report)
	}
}

func TestANodeThatIsGoneIsRemoved(t *testing.T) {
	nodes := newNodesOfTest()
	r := newRig(t, Options{Cluster: nodes})
	if plan := get[nodeRemoval](r, "DELETE", "/nodes/3", ""); plan.Executed || plan.Node != 3 || len(nodes.removed) > 0 {
		t.Errorf("without execute: %+v, removed %d", plan, nodes.removed)
	}
	if done := get[nodeRemoval](r, "DELETE", "/nodes/3?execute", ""); !done.Executed || !slices.Equal(nodes.removed, []int32{3}) {
		t.Errorf("with execute: %+v, removed %d", done, nodes.removed)
	}
	for path, want := range map[string]struct {
		status int
		code   string
		text   string
	}{
		"/nodes/2":             {409, "CONFLICT", "stop it first"},
		"/nodes/9":             {404, "NOTFOUND", "no such node"},
		"/nodes/x":             {400, "BADREQUEST", "a node is a number"},
		"/nodes/-1":            {400, "BADREQUEST", "a node is a number"},
		"/nodes/9999999999999": {400, "BADREQUEST", "a node is a number"},
	} {
		r.refused(want.status, want.code, "DELETE", path+"?execute", "", want.text)
	}
	nodes.failed = errors.Join(cluster.ErrNotNow, errors.New("it is back"))
	r.refused(409, "CONFLICT", "DELETE", "/nodes/3?execute", "", "it is back")
	if !slices.Equal(nodes.removed, []int32{3, 3}) {
		t.Errorf("removed %d", nodes.removed)
	}
}

func TestABrokerThatIsAloneHasNoNodes(t *testing.T) {
	r := newRig(t, Options{})
	r.refused(404, "NOTFOUND", "GET", "/nodes", "", "without -cluster")
	r.refused(404, "NOTFOUND", "DELETE", "/nodes/3?execute", "", "without -cluster")
}

// The audit trail has the removal of a node.
func TestTheRemovalOfANodeIsAudited(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, Options{Cluster: newNodesOfTest()})
	r.reopen(func(o *broker.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	get[nodeRemoval](r, "DELETE", "/nodes/3?execute", "")
	if text := log.String(); !strings.Contains(text, "remove-node") || !strings.Contains(text, "node=3") {
		t.Errorf("the log has %q", text)
	}
}
