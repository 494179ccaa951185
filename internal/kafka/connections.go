package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/tcpserver"
)

// Connections lists the connections: the latest request of each, the topic that was fetched or produced to last,
// and the group in which its client is a member. A consumer may have a connection for its group alone. Any
// goroutine may call it.
func (s *Server) Connections() []tcpserver.Connection {
	return s.conns.List(func(c *conn) tcpserver.Connection {
		d := tcpserver.Connection{Protocol: "kafka", Client: c.net.RemoteAddr().String()}
		if last := c.last.Load(); last > 0 {
			d.Does = kmsg.NameForKey(int16(last - 1))
		}
		if id := c.session.identity.Load(); id != nil {
			d.User = id.Name
		}
		if t := c.topic.Load(); t != nil {
			d.Topic = t.Name
		}
		if g := c.group.Load(); g != nil {
			d.Group = *g
		}
		return d
	})
}

// Disconnect aborts a connection, and reports whether there is one of this id.
func (s *Server) Disconnect(id uint64) bool {
	return s.conns.Find(id, func(c *conn) { go c.abort(context.Canceled) }) // which takes locks
}

// inGroup keeps the name of the group of which the client is a member. A pointer into the request would keep all of it.
func (c *conn) inGroup(name string) {
	if known := c.group.Load(); known == nil || *known != name {
		kept := name
		c.group.Store(&kept)
	}
}
