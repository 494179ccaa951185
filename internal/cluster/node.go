// Package cluster makes several brokers one. One node owns all topics and serves all clients; the others carry
// their clients' connections to it. The package owns the choice of the owner, the roll of the nodes, and the way of a
// connection to the owner.
package cluster
