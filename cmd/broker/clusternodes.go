package main

import "mbus/internal/broker"

// maxTail is what a new owner reads of the end of a partition, in bytes, before producers go on that send again: twice what the
// owner before may have had on its way. More would keep them waiting: it comes over the network.
const maxTail = 32 << 20

// clusterNodes are the nodes as clients of Kafka get to know them.
type clusterNodes struct{ *clusterNode }

// Live implements broker.Nodes.
func (n clusterNodes) Live() (all []broker.Node) {
	for _, m := range n.node.Live() {
		all = append(all, broker.Node{ID: m.Node, Kafka: m.Ports[portKafka]})
	}
	return all
}

// Replicas implements broker.Nodes.
func (n clusterNodes) Replicas() int { return n.o.cluster.replicas }
