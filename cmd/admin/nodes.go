package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A report is what a node of a cluster says of all nodes.
type report struct {
	Owner    int32
	Replicas int
	Nodes    []json.RawMessage
	Problems []string
}

// A node is one of them.
type node struct {
	Node              int32
	State             string
	Version           string
	Streams, Leads    int
	Lag               uint64
	Free, Size        int64
	AheadMilliseconds int64
	Seen              *time.Time
}

// lookEvery is the time between two looks of a command that waits.
const lookEvery = time.Second

// nodes asks for the report.
func (c *call) nodes() (r report, all []node, err error) {
	if err := c.api.ask(http.MethodGet, "/nodes", nil, &r); err != nil {
		return r, nil, err
	}
	all = make([]node, len(r.Nodes))
	for i, raw := range r.Nodes {
		if err := json.Unmarshal(raw, &all[i]); err != nil {
			return r, nil, err
		}
	}
	return r, all, nil
}

// listNodes is the command nodes.
func (c *call) listNodes() error {
	r, all, err := c.nodes()
	if err != nil {
		return err
	}
	lines := []string{"node\tstate\towner\tversion\tstreams\tleads\tbehind\tfree\tclock"}
	for i, of := range all {
		if c.asJSON {
			if err := c.printJSON(r.Nodes[i]); err != nil {
				return err
			}
			continue
		}
		lines = append(lines, of.row(r.Owner))
	}
	if c.asJSON {
		return nil
	}
	for _, problem := range r.Problems {
		fmt.Fprintln(c.notes, "admin:", readable(problem))
	}
	return c.printTable(lines)
}

// row is a node in the table. The clock is shown against that of the node that was asked.
func (of *node) row(owner int32) string {
	owns, clock := "no", "right"
	if of.Node == owner {
		owns = "yes"
	}
	if ahead := (time.Duration(of.AheadMilliseconds) * time.Millisecond).Round(time.Second); ahead.Abs() > time.Second {
		clock = fmt.Sprintf("%+d s", int64(ahead.Seconds()))
	}
	if of.Seen == nil {
		clock = "unknown"
	}
	return strings.Join([]string{
		strconv.Itoa(int(of.Node)), readable(of.State), owns, readable(of.Version), strconv.Itoa(of.Streams), strconv.Itoa(of.Leads),
		strconv.FormatUint(of.Lag, 10), of.space(), clock,
	}, "\t")
}

// space is the free space on the node's disk.
func (of *node) space() string {
	if of.Size == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB of %.1f", float64(of.Free)/(1<<30), float64(of.Size)/(1<<30))
}

// checkHealth is the command health. With -wait it asks until all is well, or the time is over.
func (c *call) checkHealth() error {
	end := time.Now().Add(c.wait)
	for {
		said, err := c.health()
		switch {
		case err == nil:
			return c.print(said)
		case time.Now().Add(lookEvery).After(end):
			return err
		}
		time.Sleep(lookEvery)
	}
}

// health says in a sentence that all is well. Else the error says what is not.
func (c *call) health() (said string, err error) {
	r, all, err := c.nodes()
	if isUnknown(err) { // it is no node of a cluster
		return "the broker is ready", c.api.ask(http.MethodGet, "/readyz", nil, nil)
	}
	if err != nil {
		return "", err
	}
	if len(r.Problems) > 0 {
		return "", errors.New(readable(strings.Join(r.Problems, "; ")))
	}
	return fmt.Sprintf("node %d owns the topics, all %d nodes are up and current", r.Owner, len(all)), nil
}

// removeNode is the command remove. It waits until the cluster does not count the node any more.
func (c *call) removeNode() error {
	if c.node < 0 {
		return &usageError{"-node is missing: the number of a node that is gone for good; admin nodes lists them"}
	}
	path := fmt.Sprintf("/nodes/%d", c.node)
	if !c.execute {
		if err := c.api.ask(http.MethodDelete, path, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.notes, "admin: node %d would be removed, for good: -execute does it\n", c.node)
		return nil
	}
	if err := c.api.ask(http.MethodDelete, path+"?execute", nil, nil); err != nil {
		return err
	}
	end := time.Now().Add(c.api.timeout)
	for {
		_, all, err := c.nodes()
		if err == nil && !slices.ContainsFunc(all, func(of node) bool { return int(of.Node) == c.node }) {
			fmt.Fprintf(c.notes, "admin: node %d is removed; its number and its directory can't be used again\n", c.node)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("node %d is still there after %v: admin nodes shows it; the same command goes on", c.node, c.api.timeout)
		}
		time.Sleep(lookEvery)
	}
}
