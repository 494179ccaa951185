package line

import "mbus/internal/tcpserver"

// Connections lists the connections of both ports. Any goroutine may call it.
func (s *Server) Connections() []tcpserver.Connection {
	return s.conns.List(func(c *conn) tcpserver.Connection {
		d := tcpserver.Connection{Protocol: "line", Client: c.net.RemoteAddr().String()}
		if id := c.identity.Load(); id != nil {
			d.User = id.Name
		}
		if use := c.use.Load(); use != nil {
			d.Use = *use
		}
		return d
	})
}

// Disconnect resets a connection, and reports whether there is one of this id.
func (s *Server) Disconnect(id uint64) bool {
	return s.conns.Find(id, func(c *conn) { c.net.Abort() })
}

// use is what a request uses its connection for.
func (r *request) use(publishes bool) *tcpserver.Use {
	u := &tcpserver.Use{Topic: r.topic, Group: r.group, Does: "drain"}
	switch {
	case publishes:
		u.Does, u.Group = "publish", ""
	case r.admin != nil:
		u.Does = "administer"
	case r.redrive:
		u.Does = "redrive"
	case r.deliver.From != nil:
		u.Does, u.Group = "look", ""
	case r.deliver.Follow || r.deliver.Ack:
		u.Does = "follow"
	}
	return u
}
