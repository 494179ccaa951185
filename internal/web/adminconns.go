package web

func connectionOperations() []operation { return nil }
