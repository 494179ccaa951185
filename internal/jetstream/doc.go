// Package jetstream keeps the broker's topics on several machines: it is a driver of package store
// over an embedded NATS JetStream, which replicates. It owns the embedded server, its streams, the
// catalog in them, and the connections of this process to it. One node at a time, the owner, has a
// Store and writes; an Engine runs on each node.
package jetstream
