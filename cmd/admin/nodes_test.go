package main

import (
	"strings"
	"testing"
)

const (
	healthyNodes = `{"owner":1,"epoch":7,"replicas":3,"problems":[],"nodes":[` +
		`{"node":1,"state":"up","version":"v1","streams":3,"leads":2,"lag":0,"free":1073741824,"size":10737418240,"aheadMilliseconds":0,"seen":"2026-11-22T10:00:00Z"},` +
		`{"node":2,"state":"up","version":"v1","streams":3,"leads":1,"lag":0,"free":1073741824,"size":10737418240,"aheadMilliseconds":-7400,"seen":"2026-11-22T10:00:00Z"}]}`
	brokenNodes = `{"owner":1,"epoch":7,"replicas":3,"problems":["node 3 is gone","there are 2 nodes"],"nodes":[{"node":1,"state":"up","version":"v1","seen":"2026-11-22T10:00:00Z"},{"node":3,"state":"gone","lag":12}]}`
)

func TestNodesAreATableOrJSON(t *testing.T) {
	s := serveUsers(t, map[string]string{"GET /nodes": healthyNodes})
	out, said, code := admin(t, s.flags(t, "nodes")...)
	want := "node  state  owner  version  streams  leads  behind  free                  clock\n" +
		"   1  up     yes    v1             3      2       0  1.0 GiB of 10.0  right\n"
	if code != 0 || said != "" || !strings.Contains(squeeze(out), squeeze(want)) || !strings.Contains(out, "-7 s\n") {
		t.Errorf("%d, %q, %q", code, out, said)
	}
	if out, _, code := admin(t, s.flags(t, "nodes", "-json")...); code != 0 || strings.Count(out, "\n") != 2 || !strings.HasPrefix(out, `{"node":1,`) {
		t.Errorf("%d, %q", code, out)
	}
	s = serveUsers(t, map[string]string{"GET /nodes": brokenNodes})
	out, said, code = admin(t, s.flags(t, "nodes")...)
	if code != 0 || !strings.Contains(said, "admin: node 3 is gone\n") || !strings.Contains(squeeze(out), "3 gone no") || !strings.Contains(out, "unknown") {
		t.Errorf("%d, %q, %q", code, out, said)
	}
}

// squeeze makes one space of several.
func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestHealthIsAnExitCode(t *testing.T) {
	for _, test := range []struct {
		answers   map[string]string
		code      int
		out, said string
	}{
		{map[string]string{"GET /nodes": healthyNodes}, 0, "node 1 owns the topics, all 2 nodes are up and current\n", ""},
		{map[string]string{"GET /nodes": brokenNodes}, 1, "", "admin: node 3 is gone; there are 2 nodes\n"},
		{map[string]string{"GET /readyz": "ok\n"}, 0, "the broker is ready\n", ""}, // alone
		{map[string]string{"GET /readyz": `{"code":"NOTREADY","detail":"it recovers"}`}, 1, "", "NOTREADY it recovers"},
		{map[string]string{"GET /nodes": `{"code":"NOTREADY","detail":"no node owns the topics"}`}, 1, "", "no node owns the topics"},
	} {
		s := serveUsers(t, test.answers)
		if out, said, code := admin(t, s.flags(t, "health")...); code != test.code || out != test.out || !strings.Contains(said, test.said) {
			t.Errorf("%v: %d, %q, %q", test.answers, code, out, said)
		}
	}
	s := serveUsers(t, nil)
	s.Close()
	if _, said, code := admin(t, s.flags(t, "health")...); code != 1 || !strings.Contains(said, "can't reach the broker") {
		t.Errorf("without a broker: %d, %q", code, said)
	}
}

// With -wait health asks until all is well.
func TestHealthWaits(t *testing.T) {
	s := serveUsers(t, map[string]string{"GET /nodes": brokenNodes})
	s.changes(func() map[string]string {
		if len(s.asked) == 2 {
			return map[string]string{"GET /nodes": healthyNodes}
		}
		return nil
	})
	if out, said, code := admin(t, s.flags(t, "health", "-wait", "1m")...); code != 0 || said != "" || len(s.requests()) != 3 {
		t.Errorf("%d, %q, %q, asked %q", code, out, said, s.requests())
	}
}

func TestRemoveWaitsUntilTheNodeIsGone(t *testing.T) {
	s := serveUsers(t, map[string]string{"GET /nodes": brokenNodes, "DELETE /nodes/3": "{}", "DELETE /nodes/3?execute": "{}"})
	if _, said, code := admin(t, s.flags(t, "remove", "-node", "3")...); code != 0 || !strings.Contains(said, "would be removed") {
		t.Errorf("%d, %q", code, said)
	}
	s.changes(func() map[string]string {
		if strings.Count(strings.Join(s.asked, "\n"), "GET /nodes") == 2 {
			return map[string]string{"GET /nodes": healthyNodes}
		}
		return nil
	})
	if _, said, code := admin(t, s.flags(t, "remove", "-node", "3", "-execute")...); code != 0 || !strings.Contains(said, "node 3 is removed") {
		t.Errorf("%d, %q", code, said)
	}
	if got := strings.Join(s.requests(), "; "); got != "DELETE /nodes/3; DELETE /nodes/3?execute; GET /nodes; GET /nodes; GET /nodes" {
		t.Errorf("asked %q", got)
	}
	s = serveUsers(t, map[string]string{"GET /nodes": brokenNodes, "DELETE /nodes/3?execute": "{}"})
	if _, said, code := admin(t, s.flags(t, "remove", "-node", "3", "-execute", "-timeout", "1s")...); code != 1 || !strings.Contains(said, "node 3 is still there after 1s") {
		t.Errorf("%d, %q", code, said)
	}
	s = serveUsers(t, map[string]string{"DELETE /nodes/3?execute": `{"code":"CONFLICT","detail":"node 3 is up, stop it first"}`})
	if _, said, code := admin(t, s.flags(t, "remove", "-node", "3", "-execute")...); code != 1 || !strings.Contains(said, "stop it first") {
		t.Errorf("%d, %q", code, said)
	}
	if _, said, code := admin(t, s.flags(t, "remove")...); code != 2 || !strings.Contains(said, "-node is missing") {
		t.Errorf("%d, %q", code, said)
	}
}
