package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/flags"
	"mbus/internal/units"
)

// clusterOptions are the flags of a broker that is a node of a cluster. Without address it is a single broker.
type clusterOptions struct {
	address  string // host:port for the other nodes' routes
	links    string // host:port for connections that they carry here
	peers    []string
	key      string // a file
	replicas int
	failover time.Duration // 0 for the engine's
	given    []string      // the flags that were set, of those that need or exclude -cluster
}

const (
	defaultReplicas  = 3
	minFailover      = time.Second
	maxFailover      = time.Minute
	maxClusterRecord = 7 << 20 // bytes of -max-message: a batch of it fits into one message of the engine
)

// clusterFlags are the flags that mean nothing without -cluster.
var clusterFlags = []string{"peers", "cluster-key", "cluster-links", "cluster-failover", "replicas"}

// singleFlags are the flags of the disk of a single broker: a cluster always syncs, on a majority of the nodes, and
// has no journal.
var singleFlags = []string{"fsync", "journal"}

func (o *clusterOptions) define(s *flags.Set) {
	s.StringVar(&o.address, "cluster", "", "`HOST:PORT`: be a node of a cluster, which the other nodes reach at this address; it is one of -peers. Usually port 9994")
	s.Func("peers", "`ADDRESSES`: the -cluster of all nodes, with commas between: three or more, the same on each node", o.setPeers)
	s.StringVar(&o.key, "cluster-key", "", "`FILE`: the key of the cluster, which admin new-key makes; the same on each node. Only a cluster on loopback addresses needs none")
	s.StringVar(&o.links, "cluster-links", "", "`HOST:PORT`: where the other nodes bring their clients' connections (default the host of -cluster, and the next port)")
	s.IntVar(&o.replicas, "replicas", defaultReplicas, "`NUMBER`: the nodes that keep each message, 3 or 5: a majority of them must run")
	s.DurationVar(&o.failover, "cluster-failover", 0, "`TIME`: how long the nodes wait for one that says nothing, until they elect another; 0 for 4s to 9s. Short times need a network and disks that never stall for so long")
}

func (o *clusterOptions) setPeers(value string) error {
	o.peers = nil
	for peer := range strings.SplitSeq(value, ",") {
		if peer = strings.TrimSpace(peer); peer != "" {
			o.peers = append(o.peers, peer)
		}
	}
	return nil
}

// note remembers which flags were set.
func (o *clusterOptions) note(s *flags.Set) {
	for _, name := range slices.Concat(clusterFlags, singleFlags, []string{"node-id"}) {
		if s.Given(name) {
			o.given = append(o.given, name)
		}
	}
}

// isNode says whether this broker is a node of a cluster.
func (o *clusterOptions) isNode() bool { return o.address != "" }

// checkCluster reports flags that do not go together.
func (o *options) checkCluster() error {
	c := &o.cluster
	if !c.isNode() {
		for _, name := range clusterFlags {
			if slices.Contains(c.given, name) {
				return fmt.Errorf("-%s needs -cluster, the address of this node for the others", name)
			}
		}
		return nil
	}
	for _, name := range singleFlags {
		if slices.Contains(c.given, name) {
			return fmt.Errorf("-%s is for a single broker: a cluster syncs each message on a majority of its nodes", name)
		}
	}
	if o.limits.message > maxClusterRecord {
		return fmt.Errorf("-max-message is %s: with -cluster it takes %s at most", units.FormatSize(o.limits.message), units.FormatSize(maxClusterRecord))
	}
	if !slices.Contains(c.given, "node-id") || o.kafka.nodeID == 0 {
		return errors.New("-cluster needs -node-id, a number above 0 that no other node has")
	}
	if host := o.listen.kafka.host; o.kafka.advertise == "" && isWildcard(host) {
		return fmt.Errorf("-khost is %s: with -cluster, -advertise must say at which address of this node Kafka clients reach it", host)
	}
	return c.check()
}

// check reports addresses and numbers that make no cluster. It completes links.
func (o *clusterOptions) check() error {
	if err := o.checkPeers(); err != nil {
		return err
	}
	if o.replicas != 3 && o.replicas != 5 {
		return fmt.Errorf("-replicas is %d: it takes 3 or 5", o.replicas)
	}
	if o.replicas > len(o.peers) {
		return fmt.Errorf("-replicas is %d: that takes as many nodes, and -peers has %d", o.replicas, len(o.peers))
	}
	if o.failover != 0 && (o.failover < minFailover || o.failover > maxFailover) {
		return fmt.Errorf("-cluster-failover is %s: it takes 0, or %s to %s", units.FormatDuration(o.failover), units.FormatDuration(minFailover), units.FormatDuration(maxFailover))
	}
	host, port, _ := splitAddress(o.address)
	if o.links == "" {
		if port == 65535 {
			return errors.New("-cluster has port 65535: -cluster-links must say the port for links")
		}
		o.links = net.JoinHostPort(host, strconv.Itoa(port+1))
	}
	if host, _, err := splitAddress(o.links); err != nil {
		return fmt.Errorf("-cluster-links: %w", err)
	} else if isWildcard(host) {
		return fmt.Errorf("-cluster-links is %s: it takes an address at which the other nodes reach this one", o.links)
	}
	if o.key == "" {
		for _, a := range append([]string{o.address, o.links}, o.peers...) {
			if !isLoopbackAddress(a) {
				return fmt.Errorf("%s is not a loopback address, so that the nodes need a key: %s new-key > cluster.key makes one; copy it to each node, and add -cluster-key cluster.key", a, flags.Sibling("admin"))
			}
		}
	}
	return nil
}

func (o *clusterOptions) checkPeers() error {
	host, _, err := splitAddress(o.address)
	if err != nil {
		return fmt.Errorf("-cluster: %w", err)
	}
	if isWildcard(host) {
		return fmt.Errorf("-cluster is %s: it takes the address at which the other nodes reach this one", o.address)
	}
	for i, p := range o.peers {
		if _, _, err := splitAddress(p); err != nil {
			return fmt.Errorf("-peers: %w", err)
		}
		if slices.Contains(o.peers[:i], p) {
			return fmt.Errorf("-peers has %s twice", p)
		}
	}
	switch {
	case len(o.peers) == 0:
		return errors.New("-cluster needs -peers, the addresses of all nodes with commas between")
	case len(o.peers) == 1:
		return errors.New("-peers has one address: a cluster takes three nodes or more; without -cluster it is a single broker")
	case len(o.peers) == 2:
		return errors.New("-peers has two addresses: of two nodes none could go on without the other, so that a cluster takes three or more")
	case !slices.Contains(o.peers, o.address):
		return fmt.Errorf("-peers does not have %s, which is this node's -cluster: it takes the addresses of all nodes, the same on each", o.address)
	}
	return nil
}

// splitAddress takes host:port, whose port is one that others can connect to.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || host == "" || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no address: it takes HOST:PORT, such as 10.0.0.1:9994", address)
	}
	return host, port, nil
}

// isWildcard says whether a host stands for all addresses of a machine.
func isWildcard(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}

// isLoopbackAddress says whether only this machine can connect to host:port.
func isLoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Of a node's disk, messages leave so much free, or a share of a smaller disk: the engine's own logs grow meanwhile,
// and it stops on a node whose disk is full.
const (
	clusterReserve      = 256 << 20
	clusterReserveShare = 16
)

// clusterReserveOf is -reserve for a disk of a size in bytes.
func (o *durabilityOptions) clusterReserveOf(size int64) int64 {
	if o.reserve == commitlog.DefaultReserve {
		return min(clusterReserve, size/clusterReserveShare)
	}
	return o.reserve
}
