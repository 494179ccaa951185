package web

// leaseOperations have workers lease messages, and settle them.
func leaseOperations() []operation { return nil }
