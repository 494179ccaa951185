package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"mbus/internal/broker"
	"mbus/internal/cluster"
)

// A Cluster is the nodes of which this broker is one.
type Cluster interface {
	// Report is what this node knows of all nodes.
	Report(ctx context.Context) cluster.Report
	// Remove begins to remove a node that is gone for good. The error is cluster.ErrNoNode or ErrNotNow if nothing was
	// changed.
	Remove(ctx context.Context, node int32) error
}

func nodeOperations() []operation {
	return []operation{
		{
			id: "listNodes", method: http.MethodGet, path: "/nodes", tag: "Operate",
			summary: "The nodes of the cluster, which of them owns the topics, and what is wrong",
			answers: asJSON("the nodes", cluster.Report{}),
			serve:   listNodes,
		},
		{
			id: "removeNode", method: http.MethodDelete, path: "/nodes/{node}", tag: "Operate",
			summary: "Removes a node that is gone for good. Its replicas are made again on other nodes.",
			params:  []param{paramExecute},
			answers: asJSON("the node that is being, or would be, removed", nodeRemoval{}),
			changes: true, serve: planned(planRemoval),
		},
	}
}

// nodes are the nodes of the cluster, for an access to it.
func (c *call) nodes(access broker.Access) (Cluster, error) {
	if err := c.view.Allow(access, broker.ClusterResource, ""); err != nil {
		return nil, err
	}
	if c.server.opts.Cluster == nil {
		return nil, notFound("this broker is alone: it was started without -cluster")
	}
	return c.server.opts.Cluster, nil
}

func listNodes(c *call) error {
	nodes, err := c.nodes(broker.Describe)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, nodes.Report(c.r.Context()))
}

// A nodeRemoval is a node that is being, or would be, removed.
type nodeRemoval struct {
	plan
	cluster.NodeReport
}

func planRemoval(c *call) (*nodeRemoval, error) {
	nodes, err := c.nodes(broker.Alter)
	if err != nil {
		return nil, err
	}
	text := c.r.PathValue("node")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return nil, badRequest("the path: a node is a number, which GET /nodes shows, not %q", text)
	}
	report := nodes.Report(c.r.Context())
	if err := report.CanRemove(int32(n)); err != nil {
		return nil, aboutNode(err)
	}
	done := new(nodeRemoval)
	i := slices.IndexFunc(report.Nodes, func(of cluster.NodeReport) bool { return of.Node == int32(n) })
	done.NodeReport = report.Nodes[i]
	done.do = func() error {
		if err := nodes.Remove(c.r.Context(), int32(n)); err != nil {
			return aboutNode(err)
		}
		broker.AuditChange(c.view, "remove-node", broker.ClusterResource, "", "node", n)
		return nil
	}
	return done, nil
}

// aboutNode is an error of the cluster as clients get it.
func aboutNode(err error) error {
	switch {
	case errors.Is(err, cluster.ErrNoNode):
		return notFound("%v", err)
	case errors.Is(err, cluster.ErrNotNow):
		return &problem{Status: http.StatusConflict, Code: codeConflict, Detail: err.Error()}
	}
	return err
}
