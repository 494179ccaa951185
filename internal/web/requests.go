package web

import (
	"cmp"
	"net/http"
	"strconv"
	"sync/atomic"

	"mbus/internal/broker"
)

// noOperation stands for the operation of requests that the guard or the router has refused.
const noOperation = "none"

// count has the requests of all operations counted.
func (t *router) count(stats *broker.Stats) {
	for _, op := range t.operations {
		op.served = requestCounter(stats, cmp.Or(op.id, op.path), http.StatusOK)
	}
}

func requestCounter(stats *broker.Stats, operation string, status int) *atomic.Int64 {
	return stats.Request(broker.Request{Port: broker.HTTP, Kind: operation, Outcome: strconv.Itoa(status)})
}

// count counts the request.
func (c *call) count() {
	status := cmp.Or(c.w.status, http.StatusOK) // 0 where the connection was taken over, and by Write
	switch {
	case c.op == nil:
		requestCounter(&c.server.broker.Stats, noOperation, status).Add(1)
	case status == http.StatusOK:
		c.op.served.Add(1)
	default:
		requestCounter(&c.server.broker.Stats, cmp.Or(c.op.id, c.op.path), status).Add(1)
	}
}
