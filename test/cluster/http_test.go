package cluster

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Each node answers what is about itself, also while no node owns the topics; all else the owner answers, over the same
// connection, on every node.
func TestEachNodeAnswersHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3, "-cluster-failover", failover.String())
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxConnsPerHost: 1}} // one connection to each node
	get := func(node int, path string) (int, string) {
		t.Helper()
		resp, err := client.Get("http://" + c.Nodes[node].HTTP() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	owner := c.Owner()
	for node := range c.Nodes {
		resp, err := client.Post("http://"+c.Nodes[node].HTTP()+"/topics/orders", "text/plain", strings.NewReader("a message"))
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		for path, want := range map[string]string{
			"/livez": "ok", "/readyz": "ok", "/healthz": `"status":"ok"`, "/topics/orders": `"topic":"orders"`, "/nodes": `"owner":`, "/metrics": "mbus_cluster_owner ",
		} {
			if status, text := get(node, path); status != 200 || !strings.Contains(text, want) {
				t.Errorf("node %d, %s: %d, %.200s", node+1, path, status, text)
			}
		}
		_, text := get(node, "/metrics")
		if has := strings.Contains(text, "mbus_topic_bytes"); has != (node == owner) || strings.Contains(text, "\nmbus_cluster_owns 1\n") != (node == owner) {
			t.Errorf("node %d: the numbers of topics are there: %v", node+1, has)
		}
	}
	left := (owner + 1) % 3
	c.Nodes[owner].Kill()
	c.Nodes[(owner+2)%3].Kill()
	brokertest.Await(t, time.Minute, "the node says that there is no owner", func() bool {
		status, text := get(left, "/readyz")
		return status == 503 && strings.Contains(text, "No node owns the topics now")
	})
	for path, want := range map[string]int{"/livez": 200, "/healthz": 503, "/nodes": 200, "/metrics": 200} {
		if status, text := get(left, path); status != want {
			t.Errorf("%s: %d, %s", path, status, text)
		}
	}
	if status, text := get(left, "/topics/orders"); status != 503 || !strings.Contains(text, "no node has the topics") {
		t.Errorf("%d, %s", status, text)
	}
	c.Start(owner)
	if status, text := get(left, "/topics/orders"); status != 200 {
		t.Errorf("%d, %s", status, text)
	}
}
