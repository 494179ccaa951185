package jetstream

import (
	"errors"
	"strings"
	"testing"
)

func TestDecideJoinsOneClusterOrWaits(t *testing.T) {
	const total = 3
	fresh := func(node int32) hello {
		return hello{Node: node, Peer: nodeName(node), Candidate: "c" + nodeName(node)}
	}
	known := func(node int32, id string) hello {
		h := fresh(node)
		h.Cluster = id
		return h
	}
	member := func(node int32, id string) hello {
		h := known(node, id)
		h.Member = true
		return h
	}
	leader := func(node int32, id string, peers ...peer) hello {
		h := member(node, id)
		h.Peers = append(peers, peer{h.Peer, true, true})
		return h
	}
	behind := func(h hello, node int32) hello {
		h.Behind = map[string]uint64{nodeName(node): 7}
		return h
	}
	removed := func(h hello, node int32) hello {
		h.Removed = []int32{node}
		return h
	}
	gone := func(node int32) peer { return peer{nodeName(node), false, false} }
	current := func(node int32) peer { return peer{nodeName(node), true, true} }
	const waits, refuses = "waiting", "refused"
	for name, c := range map[string]struct {
		self    hello
		answers []hello
		want    string // an id, waits or refuses
	}{
		"nobody answers":                      {fresh(1), nil, waits},
		"it answers itself only":              {fresh(1), []hello{fresh(1)}, waits},
		"two of three are new":                {fresh(1), []hello{fresh(2), fresh(2)}, waits},
		"all are new":                         {fresh(2), []hello{fresh(1), fresh(2), fresh(3)}, "cmbus-1"},
		"all are new, itself the first":       {fresh(1), []hello{fresh(2), fresh(3)}, "cmbus-1"},
		"another has begun":                   {fresh(1), []hello{fresh(2), known(3, "x")}, "x"},
		"another has begun, one is missing":   {fresh(1), []hello{known(3, "x")}, waits},
		"it has begun, and another too":       {known(1, "x"), []hello{known(2, "x")}, "x"},
		"it has begun, and nobody else":       {known(1, "x"), []hello{fresh(2), fresh(3)}, waits},
		"a restart":                           {member(1, "x"), []hello{member(2, "x")}, "x"},
		"a restart, alone":                    {member(1, "x"), []hello{fresh(2), fresh(3)}, waits},
		"a directory of another cluster":      {member(1, "x"), []hello{member(2, "y")}, refuses},
		"a directory of a cluster not ready":  {known(1, "x"), []hello{known(2, "y")}, refuses},
		"two clusters":                        {fresh(1), []hello{member(2, "x"), member(3, "y")}, refuses},
		"removed":                             {member(1, "x"), []hello{removed(member(2, "x"), 1)}, refuses},
		"removed, with an empty directory":    {fresh(1), []hello{removed(member(2, "x"), 1)}, refuses},
		"another is removed":                  {member(1, "x"), []hello{removed(member(2, "x"), 3)}, "x"},
		"empty, before the leader":            {fresh(3), []hello{member(1, "x"), member(2, "x")}, waits},
		"empty twice":                         {fresh(1), []hello{fresh(2), member(3, "x")}, waits},
		"a new number":                        {fresh(4), []hello{leader(1, "x", current(2), current(3)), member(2, "x"), member(3, "x")}, "x"},
		"a new number, one is gone":           {fresh(4), []hello{leader(1, "x", current(2), gone(3)), member(2, "x")}, "x"},
		"lost its directory":                  {fresh(3), []hello{leader(1, "x", current(2), gone(3)), member(2, "x")}, "x"},
		"lost it, and behind in streams":      {fresh(3), []hello{leader(1, "x", current(2), gone(3)), behind(member(2, "x"), 3)}, "x"},
		"lost it, and another one lags":       {fresh(3), []hello{leader(1, "x", gone(2), gone(3)), member(2, "x")}, waits},
		"lost it, and another lags in one":    {fresh(3), []hello{behind(leader(1, "x", current(2), gone(3)), 2), member(2, "x")}, waits},
		"lost it, and one does not answer":    {fresh(3), []hello{leader(1, "x", current(2), gone(3))}, waits},
		"lost it, and another one, too":       {fresh(3), []hello{leader(1, "x", current(2), gone(3)), fresh(2)}, waits},
		"its number is in use":                {fresh(3), []hello{leader(1, "x", current(2), current(3)), member(2, "x")}, waits},
		"lost it, and one forgets its leader": {fresh(3), []hello{leader(1, "x", current(2), gone(3)), {Node: 2, Peer: nodeName(2), Cluster: "x", Member: true, load: load{Orphans: 1}}}, waits},
	} {
		id, err := decide(c.self, c.answers, total)
		var r *refusedError
		got := id
		switch {
		case isWaiting(err):
			got = waits
		case errors.As(err, &r):
			got = refuses
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
		if got != c.want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, c.want)
		}
	}
}

// Whatever order nodes start in, and whichever have answered each other, they make the same cluster.
func TestDecideMakesTheSameClusterEverywhere(t *testing.T) {
	nodes := make([]hello, 3)
	for i := range nodes {
		nodes[i] = hello{Node: int32(i + 1), Peer: nodeName(int32(i + 1)), Candidate: strings.Repeat("c", i+1)}
	}
	var step func(nodes [3]hello)
	seen := make(map[[3]hello0]bool)
	step = func(nodes [3]hello) {
		var key [3]hello0
		for i, n := range nodes {
			key[i] = hello0{n.Cluster, n.Candidate}
		}
		if seen[key] {
			return
		}
		seen[key] = true
		for i := range nodes {
			for mask := range 8 { // the nodes that answer
				var answers []hello
				for j := range nodes {
					if mask&(1<<j) != 0 {
						answers = append(answers, nodes[j])
					}
				}
				id, err := decide(nodes[i], answers, 3)
				if isWaiting(err) {
					continue
				}
				if err != nil {
					t.Fatalf("node %d of %+v: %v", i+1, nodes, err)
				}
				next := nodes
				next[i].Cluster = id
				for _, n := range next {
					if n.Cluster != "" && n.Cluster != "c" {
						t.Fatalf("%+v", next)
					}
				}
				step(next)
			}
		}
	}
	step([3]hello(nodes))
	if len(seen) != 8 {
		t.Errorf("%d states", len(seen))
	}
}

type hello0 struct{ cluster, candidate string }
