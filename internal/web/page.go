package web

// pageOperations are the page for browsers.
func pageOperations() []operation { return nil }
