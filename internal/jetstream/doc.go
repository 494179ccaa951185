// Package jetstream keeps the broker's topics on several machines: it is a driver of package store
// over an embedded NATS JetStream, which replicates.
package jetstream

import (
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go"
)
