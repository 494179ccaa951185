package main

import "mbus/internal/broker"

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
