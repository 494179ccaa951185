package tcpserver

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// A Connection is one of a server, as people see it.
type Connection struct {
	ID       uint64    // no other connection of this program has it
	Protocol string    // of the server
	Client   string    // its address
	User     string    // that it has logged in as; "" for none
	Since    time.Time // when it was accepted
	Use
}

// A Use is what a connection is used for; each field is "" where that is not known.
type Use struct {
	Topic, Group string
	Does         string // a verb, or the name of a request
}

// started is what is known of each connection.
type started struct {
	id    uint64
	at    int64 // nanoseconds since 1970
	guest *guest
}

// latest is the id of the connection that was accepted last, of all servers.
var latest atomic.Uint64

// List lists the connections by id. describe is as the function of Each; it leaves ID and Since to List.
func (s *Conns[C]) List(describe func(C) Connection) (all []Connection) {
	s.mu.Lock()
	for c, of := range s.conns {
		d := describe(c)
		d.ID, d.Since = of.id, time.Unix(0, of.at)
		all = append(all, d)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Connection) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Find calls f, which is as that of Each, with the connection of an id, and reports whether there is one.
func (s *Conns[C]) Find(id uint64, f func(C)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, of := range s.conns {
		if of.id == id {
			f(c)
			return true
		}
	}
	return false
}
