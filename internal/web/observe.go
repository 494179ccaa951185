package web

// observeOperations measure the broker.
func observeOperations() []operation { return nil }
