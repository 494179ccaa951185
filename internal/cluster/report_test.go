package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// brief is a report in one line.
func (r *Report) brief() string {
	var words []string
	for _, of := range r.Nodes {
		words = append(words, fmt.Sprintf("%d:%s", of.Node, of.State))
	}
	return fmt.Sprintf("owner %d, %s; %s", r.Owner, strings.Join(words, " "), strings.Join(r.Problems, ", "))
}

func TestReportSaysWhatIsWrong(t *testing.T) {
	current := []Peer{{Node: 1, Current: true, Streams: 3, Leads: 2}, {Node: 2, Current: true, Streams: 3, Leads: 1}, {Node: 3, Current: true, Streams: 3}}
	lags := []Peer{current[0], current[1], {Node: 3, Lag: 17, Streams: 3}}
	replaced := []Peer{current[0], current[1], {Node: 3, Current: true}}
	for _, test := range []struct {
		name   string
		live   int // of the first nodes
		owns   bool
		peers  []Peer
		failed error
		want   string
	}{
		{"all is well", 3, true, current, nil, "owner 1, 1:up 2:up 3:up; "},
		{"no owner", 3, false, current, nil, "owner 0, 1:up 2:up 3:up; no node owns the topics"},
		{"a replica lags", 3, true, lags, nil, "owner 1, 1:up 2:up 3:behind; node 3 is behind by 17 entries"},
		{"a node has no replicas yet", 3, true, replaced, nil, "owner 1, 1:up 2:up 3:up; 3 of 9 replicas of streams are not made yet"},
		{"a node is gone that this one has not seen", 2, true, current, nil, "owner 1, 1:up 2:up 3:gone; node 3 is gone"},
		{"a node has not joined", 3, true, current[:2], nil, "owner 1, 1:up 2:up 3:joining; node 3 has not joined yet, there are 2 nodes, and each message is to be on 3"},
		{"the engine says nothing", 1, true, nil, errors.New("no leader"), "owner 1, 1:up; it is not known whether the replicas are current: no leader"},
	} {
		synctest.Test(t, func(t *testing.T) {
			rigs := startRolls(t, test.live)
			defer stopRolls(rigs)
			if test.owns {
				rigs[0].say(func(m *Member) { m.Owns = 7 })
			}
			time.Sleep(time.Second)
			synctest.Wait()
			n := &Node{roll: rigs[0].roll}
			r := n.Report(t.Context(), 3, func(context.Context) ([]Peer, error) { return test.peers, test.failed })
			if got := r.brief(); got != test.want {
				t.Errorf("%s: %q, want %q", test.name, got, test.want)
			}
		})
	}
}

// A node that was removed is not listed any more, though it was seen.
func TestReportForgetsNodesThatWereRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startRolls(t, 2)
		defer stopRolls(rigs)
		rigs[0].say(func(m *Member) { m.Owns = 1 })
		time.Sleep(time.Second)
		synctest.Wait()
		rigs[1].stop()
		n := &Node{roll: rigs[0].roll}
		for want, peers := range map[string][]Peer{
			"owner 1, 1:up 2:gone; node 2 is gone": {{Node: 1, Current: true}, {Node: 2}},
			"owner 1, 1:up; ":                      {{Node: 1, Current: true}},
		} {
			if r := n.Report(t.Context(), 1, func(context.Context) ([]Peer, error) { return peers, nil }); r.brief() != want {
				t.Errorf("%q, want %q", r.brief(), want)
			}
		}
	})
}

func TestANodeIsRemovedOnlyWhereTheOthersCanGoOn(t *testing.T) {
	nodes := func(states string) (all []NodeReport) {
		for i, state := range strings.Fields(states) {
			all = append(all, NodeReport{Node: int32(i + 1), State: state})
		}
		return all
	}
	for _, test := range []struct {
		states   string
		replicas int
		owner    int32
		want     string // of the error; "" if node 1 can be removed
	}{
		{"gone up up up", 3, 2, ""},
		{"gone up up", 3, 2, "start the node that replaces it first"},
		{"gone up up joining", 3, 2, "start the node that replaces it first"},
		{"gone up up behind", 3, 2, "start the node that replaces it first"},
		{"up up up up", 3, 2, "stop it first"},
		{"behind up up up", 3, 2, "stop it first"},
		{"gone up up up", 3, 0, "no node owns the topics"},
		{"gone gone up up up", 3, 3, ""},
		{"gone gone gone gone up up up", 3, 5, "of the 6 others only 3"},
		{"", 3, 2, "no such node"},
	} {
		r := &Report{Owner: test.owner, Replicas: test.replicas, Nodes: nodes(test.states)}
		err := r.CanRemove(1)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.states, err, test.want)
		}
	}
}
