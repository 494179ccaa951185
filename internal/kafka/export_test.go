package kafka

import "time"

// MaxWaiting is the limit for responses that wait for an earlier one.
const MaxWaiting = maxWaiting

// Waiting is how many requests wait for something to happen.
func (s *Server) Waiting() (n int) {
	s.conns.Each(func(c *conn) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, call := range c.queue {
			if call.cancel != nil {
				n++
			}
		}
	})
	return n
}

// StreamFrom has requests to produce of so many bytes read piece by piece. It is for before
// the first connection.
func (s *Server) StreamFrom(size int) { s.maxWhole = size - 1 }

// Writing is how many connections are writing an answer.
func (s *Server) Writing() (n int) {
	s.conns.Each(func(c *conn) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.writing {
			n++
		}
	})
	return n
}

// Versions are the lowest and the highest version of each key.
func Versions() map[int16][2]int16 {
	all := make(map[int16][2]int16)
	for key, a := range apis {
		all[key] = [2]int16{a.min, a.max}
	}
	return all
}

// EndInvalidAt is EndInvalid at a time that need not have come.
func (s *Server) EndInvalidAt(now time.Time) { s.endInvalid(now) }
