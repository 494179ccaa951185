package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/tcpserver"
)

// Connections lists the connections. A client has several, and requests are of many topics, so that only the
// latest request is known. Any goroutine may call it.
func (s *Server) Connections() []tcpserver.Connection {
	return s.conns.List(func(c *conn) tcpserver.Connection {
		d := tcpserver.Connection{Protocol: "kafka", Client: c.net.RemoteAddr().String()}
		if last := c.last.Load(); last > 0 {
			d.Does = kmsg.NameForKey(int16(last - 1))
		}
		return d
	})
}

// Disconnect aborts a connection, and reports whether there is one of this id.
func (s *Server) Disconnect(id uint64) bool {
	return s.conns.Find(id, func(c *conn) { go c.abort(context.Canceled) }) // which takes locks
}
