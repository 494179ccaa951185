package broker

// Nodes are the brokers of a cluster. One of them, the one that asks, owns all topics. Any goroutine may call its
// methods, often.
type Nodes interface {
	// Live are those that live, by number, the one that asks too.
	Live() []Node
	// Replicas is how many nodes keep each message.
	Replicas() int
}

// A Node is a broker of a cluster, as Kafka's clients see it.
type Node struct {
	ID    int32
	Kafka string // host:port for clients
}
