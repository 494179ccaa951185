package web

// consumeOperations give messages.
func consumeOperations() []operation { return nil }
