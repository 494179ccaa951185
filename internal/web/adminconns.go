package web

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

func connectionOperations() []operation {
	return []operation{
		{
			id: "listConnections", method: http.MethodGet, path: "/connections", tag: "Operate",
			summary: "The connections of all protocols, by id",
			params: []param{
				{name: "after", about: "the list goes on behind this id, which the answer before had as next", kind: "integer", example: "0"},
				paramLimit,
				{name: "protocol", about: "line, kafka or http: only these", example: "kafka"},
				{name: "topic", about: "only those that are known to use this topic", example: "orders"},
				{name: "group", about: "only those that are known to use this group", example: "billing"},
			},
			answers: asJSON("the connections", connectionList{}),
			serve:   listConnections,
		},
		{
			id: "closeConnection", method: http.MethodDelete, path: "/connections/{connection}", tag: "Operate",
			summary: "Resets a connection. What its client has not acknowledged goes to others.",
			params:  []param{paramExecute},
			answers: asJSON("the connection that was, or would be, closed", closedConnection{}),
			changes: true, serve: closeConnection,
		},
	}
}

// A connection is one of any protocol.
type connection struct {
	ID       uint64    `json:"id"`
	Protocol string    `json:"protocol"` // line, kafka or http
	Client   string    `json:"client"`
	User     string    `json:"user,omitempty"`
	Since    time.Time `json:"since"`
	Topic    string    `json:"topic,omitempty"`
	Group    string    `json:"group,omitempty"`
	Does     string    `json:"does"` // a verb, the name of a request, or idle
}

type connectionList struct {
	Connections []connection `json:"connections"`
	Next        uint64       `json:"next,omitempty"` // for parameter after, if there are more
}

type closedConnection struct {
	plan
	connection
}

// Connections lists the connections of the server. Any goroutine may call it.
func (s *Server) Connections() []tcpserver.Connection {
	return s.conns.List(func(c *conn) tcpserver.Connection {
		d := tcpserver.Connection{Protocol: "http", Client: c.RemoteAddr().String()}
		if l := c.login.Load(); l != nil {
			d.User = l.identity.Name
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

// fronts are the servers of all protocols.
func (s *Server) fronts() []Front { return append(slices.Clone(s.opts.Fronts), s) }

// describeConnections lists the connections of all protocols by id, or fails if the client may not see the
// broker as a whole.
func describeConnections(c *call) (all []connection, err error) {
	if err := c.view.Allow(broker.Describe, broker.ClusterResource, ""); err != nil {
		return nil, err
	}
	for _, front := range c.server.fronts() {
		for _, of := range front.Connections() {
			all = append(all, connection{of.ID, of.Protocol, of.Client, of.User, of.Since.UTC(), of.Topic, of.Group, cmp.Or(of.Does, "idle")})
		}
	}
	slices.SortFunc(all, func(a, b connection) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

func listConnections(c *call) error {
	after, err := c.number("after", 0, math.MaxInt64, 0)
	if err != nil {
		return err
	}
	most, err := c.number("limit", 1, broker.ListedEntries, broker.ListedEntries)
	if err != nil {
		return err
	}
	protocol := c.query.Get("protocol")
	if c.query.Has("protocol") && !slices.Contains([]string{"line", "kafka", "http"}, protocol) {
		return badRequest("parameter %q: it takes line, kafka or http, not %q", "protocol", protocol)
	}
	all, err := describeConnections(c)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(of connection) bool {
		return of.ID <= uint64(after) || cmp.Or(protocol, of.Protocol) != of.Protocol ||
			cmp.Or(c.query.Get("topic"), of.Topic) != of.Topic || cmp.Or(c.query.Get("group"), of.Group) != of.Group
	})
	list := connectionList{Connections: all}
	if int64(len(all)) > most {
		list.Connections, list.Next = all[:most], all[most-1].ID
	}
	if all == nil {
		list.Connections = []connection{}
	}
	return c.json(http.StatusOK, list)
}

// closeConnection resets a connection. That of the request itself is closed behind the answer.
func closeConnection(c *call) error {
	text := c.r.PathValue("connection")
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return badRequest("the path: a connection is a number, which GET /connections shows, not %q", text)
	}
	all, err := describeConnections(c)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(of connection) bool { return of.ID == id })
	if i < 0 {
		return notFound("there is no connection %d", id)
	}
	if err := c.view.Allow(broker.Alter, broker.ClusterResource, ""); err != nil {
		return err
	}
	done := &closedConnection{connection: all[i]}
	done.do = func() error {
		switch {
		case done.Client == c.r.RemoteAddr && done.Protocol == "http":
			c.w.Header().Set("Connection", "close")
		case !slices.ContainsFunc(c.server.fronts(), func(f Front) bool { return f.Disconnect(id) }):
			return notFound("connection %d has ended just now", id)
		}
		broker.AuditChange(c.view, "disconnect", broker.ConnectionResource, text, "protocol", done.Protocol, "of", done.Client)
		return nil
	}
	return carryOut(c, http.StatusOK, done)
}
