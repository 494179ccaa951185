package web

// publishOperations publish messages.
func publishOperations() []operation { return nil }
