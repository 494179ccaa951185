package brokertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Cluster is broker processes that are the nodes of one cluster. Each keeps its ports over all its starts.
type Cluster struct {
	Nodes []*Broker // node number 1 first

	t testing.TB
}

// StartCluster starts a cluster of nodes on loopback, with further flags, and waits until it has an owner.
func StartCluster(t testing.TB, nodes int, flags ...string) *Cluster {
	t.Helper()
	c := NewCluster(t, nodes, flags...)
	c.StartAll()
	return c
}

// NewCluster is StartCluster without the start.
func NewCluster(t testing.TB, nodes int, flags ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var routes []string
	for range nodes {
		routes = append(routes, Reserve(t))
	}
	for i, route := range routes {
		all := []string{"-node-id", fmt.Sprint(i + 1), "-cluster", route, "-cluster-links", Reserve(t), "-peers", strings.Join(routes, ",")}
		for _, flag := range []string{"-pport", "-cport", "-kport", "-hport"} {
			all = append(all, flag, Port(Reserve(t)))
		}
		c.add(append(all, flags...))
	}
	return c
}

// Flags are those of a node, with further ones.
func (c *Cluster) Flags(node int, flags ...string) []string {
	b := c.Nodes[node]
	return slices.Concat([]string{"-data", b.Data}, b.flags, flags)
}

// FreePorts are those of a node that gets other ports than it has.
func (c *Cluster) FreePorts(node int) []string {
	route := Reserve(c.t)
	i := slices.Index(c.Nodes[node].flags, "-peers") + 1
	return c.Flags(node, "-cluster", route, "-cluster-links", Reserve(c.t), "-peers", c.Nodes[node].flags[i]+","+route,
		"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0")
}

// NewClusterOn gives a cluster with a key and a node on each of the hosts, which is not started.
func NewClusterOn(t testing.TB, hosts []*Host, flags ...string) *Cluster {
	t.Helper()
	key := filepath.Join(t.TempDir(), "cluster.key")
	text, err := exec.Command(Program(t, "admin"), "new-key").Output()
	if err == nil {
		err = os.WriteFile(key, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, h := range hosts {
		routes = append(routes, h.Address+":9994")
	}
	c := &Cluster{t: t}
	for i, h := range hosts {
		all := []string{"-node-id", fmt.Sprint(i + 1), "-cluster", routes[i], "-peers", strings.Join(routes, ","), "-cluster-key", key, "-insecure"}
		for _, flag := range []string{"-phost", "-chost", "-khost", "-hhost"} {
			all = append(all, flag, h.Address)
		}
		for i, flag := range []string{"-pport", "-cport", "-kport", "-hport"} {
			all = append(all, flag, fmt.Sprint(9100+i))
		}
		c.add(append(all, flags...)).host = h
	}
	return c
}

// add adds a node.
func (c *Cluster) add(flags []string) *Broker {
	b := &Broker{Data: filepath.Join(c.t.TempDir(), "data"), t: c.t, flags: flags}
	c.Nodes = append(c.Nodes, b)
	return b
}

// StartAll starts all nodes, and waits until there is an owner.
func (c *Cluster) StartAll() {
	c.t.Helper()
	for _, b := range c.Nodes {
		b.Begin()
	}
	for _, b := range c.Nodes {
		if err := b.Ready(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.Owner()
}

// Start starts a node again, and waits until it lets clients in.
func (c *Cluster) Start(node int) {
	c.t.Helper()
	b := c.Nodes[node]
	b.Begin()
	if err := b.Ready(); err != nil {
		c.t.Fatal(err)
	}
}

// A ClusterReport is what GET /nodes answers.
type ClusterReport struct {
	Owner int32  `json:"owner"`
	Epoch uint64 `json:"epoch"`
	Nodes []struct {
		Node  int32  `json:"node"`
		State string `json:"state"`
		Leads int    `json:"leads"`
	} `json:"nodes"`
	Problems []string `json:"problems"`
}

// Report asks a node for what it knows of all.
func (p *Process) Report() (r ClusterReport, err error) {
	dial := func(_ context.Context, _, address string) (net.Conn, error) { return p.Dial(address) }
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + p.HTTP() + "/nodes")
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return r, fmt.Errorf("GET /nodes answers %s", answer.Status)
	}
	return r, json.NewDecoder(answer.Body).Decode(&r)
}

// Owner waits until all nodes that run agree upon an owner, and gives its index in Nodes.
func (c *Cluster) Owner() (index int) {
	c.t.Helper()
	Await(c.t, patience, "all nodes know the same owner", func() bool {
		index = -1
		for _, b := range c.Nodes {
			if !b.Runs() {
				continue
			}
			r, err := b.Report()
			if err != nil || r.Owner == 0 || index >= 0 && int(r.Owner)-1 != index {
				return false
			}
			index = int(r.Owner) - 1
		}
		return index >= 0
	})
	return index
}

// AwaitHealthy waits until each node runs, there is an owner, and all replicas are current.
func (c *Cluster) AwaitHealthy() {
	c.t.Helper()
	Await(c.t, patience, "there is an owner, and all replicas are current", func() bool {
		for _, b := range c.Nodes {
			if r, err := b.Report(); err != nil || len(r.Problems) > 0 || len(r.Nodes) != len(c.Nodes) {
				return false
			}
		}
		return true
	})
}

// Runs says whether the process has begun and not ended.
func (p *Process) Runs() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}
