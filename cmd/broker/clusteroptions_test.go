package main

import (
	"strings"
	"testing"
	"time"
)

// parsed gives the options of a command line, or what it is refused with.
func parsed(args ...string) (*options, string) {
	var said strings.Builder
	o, _, ok := parseTo(&said, args)
	if !ok {
		text, _, _ := strings.Cut(said.String(), "\n")
		return nil, text
	}
	return o, ""
}

var threePeers = "127.0.0.1:9994,127.0.0.2:9994,127.0.0.3:9994"

func TestFlagsOfANode(t *testing.T) {
	o, said := parsed("-node-id", "2", "-cluster", "127.0.0.2:9994", "-peers", strings.ReplaceAll(threePeers, ",", ", "), "-cluster-failover", "2s")
	if said != "" {
		t.Fatal(said)
	}
	c := &o.cluster
	if !c.isNode() || len(c.peers) != 3 || c.links != "127.0.0.2:9995" || c.replicas != 3 || c.failover != 2*time.Second {
		t.Errorf("%+v", c)
	}
	if o, said = parsed(); said != "" || o.cluster.isNode() {
		t.Errorf("without flags: %q, %+v", said, o)
	}
	o, said = parsed("-node-id", "1", "-cluster", "a.example:1", "-peers", "a.example:1,b.example:1,c.example:1", "-cluster-key", "x", "-khost", "0.0.0.0", "-advertise", "a.example:9092")
	if said != "" || o.cluster.links != "a.example:2" {
		t.Errorf("with a key: %q, %+v", said, o)
	}
}

func TestFlagsThatMakeNoCluster(t *testing.T) {
	five := threePeers + ",127.0.0.4:9994,127.0.0.5:9994"
	for _, tt := range []struct{ args, want string }{
		{"-peers " + threePeers, "-peers needs -cluster"},
		{"-cluster-key x", "-cluster-key needs -cluster"},
		{"-replicas 3", "-replicas needs -cluster"},
		{"-cluster 127.0.0.1:9994 -peers " + threePeers, "-cluster needs -node-id"},
		{"-node-id 0 -cluster 127.0.0.1:9994 -peers " + threePeers, "-cluster needs -node-id"},
		{"-node-id 1 -cluster 127.0.0.1:9994", "-cluster needs -peers"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -peers 127.0.0.1:9994", "-peers has one address"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -peers 127.0.0.1:9994,127.0.0.2:9994", "-peers has two addresses"},
		{"-node-id 1 -cluster 127.0.0.9:9994 -peers " + threePeers, "-peers does not have 127.0.0.9:9994"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -peers 127.0.0.1:9994,127.0.0.1:9994,127.0.0.2:9994", "-peers has 127.0.0.1:9994 twice"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -peers 127.0.0.1:9994,127.0.0.2,127.0.0.3:9994", `-peers: "127.0.0.2" is no address`},
		{"-node-id 1 -cluster 127.0.0.1 -peers " + threePeers, `-cluster: "127.0.0.1" is no address`},
		{"-node-id 1 -cluster 127.0.0.1:0 -peers " + threePeers, `-cluster: "127.0.0.1:0" is no address`},
		{"-node-id 1 -cluster :9994 -peers " + threePeers, `-cluster: ":9994" is no address`},
		{"-node-id 1 -cluster 0.0.0.0:9994 -peers " + threePeers, "-cluster is 0.0.0.0:9994"},
		{"-node-id 1 -cluster [::]:9994 -peers " + threePeers, "-cluster is [::]:9994"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -cluster-links 0.0.0.0:9995 -peers " + threePeers, "-cluster-links is 0.0.0.0:9995"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -cluster-links x -peers " + threePeers, `-cluster-links: "x" is no address`},
		{"-node-id 1 -cluster 127.0.0.1:9994 -replicas 2 -peers " + threePeers, "-replicas is 2"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -replicas 5 -peers " + threePeers, "-replicas is 5: that takes as many nodes"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -replicas 5 -cluster-failover 1ms -peers " + five, "-cluster-failover is 1ms"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -max-message 8MiB -peers " + threePeers, "-max-message is 8MiB: with -cluster it takes 7MiB at most"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -fsync 100ms -peers " + threePeers, "-fsync is for a single broker"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -journal 0 -peers " + threePeers, "-journal is for a single broker"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -khost 0.0.0.0 -peers " + threePeers, "-khost is 0.0.0.0: with -cluster, -advertise must say"},
		{"-node-id 1 -cluster 10.0.0.1:9994 -peers 10.0.0.1:9994,10.0.0.2:9994,10.0.0.3:9994", "10.0.0.1:9994 is not a loopback address, so that the nodes need a key"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -peers 127.0.0.1:9994,10.0.0.2:9994,127.0.0.3:9994", "10.0.0.2:9994 is not a loopback address"},
		{"-node-id 1 -cluster 127.0.0.1:9994 -cluster-links 10.0.0.1:1 -peers " + threePeers, "10.0.0.1:1 is not a loopback address"},
	} {
		if _, said := parsed(strings.Fields(tt.args)...); !strings.Contains(said, tt.want) {
			t.Errorf("%s: said %q, want %q", tt.args, said, tt.want)
		}
	}
}
