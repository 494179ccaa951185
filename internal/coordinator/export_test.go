package coordinator

// Used is how many bytes members are charged for.
func Used(c *Coordinator) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
