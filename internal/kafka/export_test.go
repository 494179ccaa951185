package kafka

// Connections is how many there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Waiting is how many requests wait for something to happen.
func (s *Server) Waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		for _, call := range c.queue {
			if call.cancel != nil {
				n++
			}
		}
		c.mu.Unlock()
	}
	return n
}
