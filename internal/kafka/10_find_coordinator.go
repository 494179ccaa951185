package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// FindCoordinator, versions 0 to 6: this broker, for every group. There are no transactions
// and no share groups: the former are TRANSACTIONAL_ID_AUTHORIZATION_FAILED, because
// librdkafka gives up with it at once, the latter INVALID_REQUEST.
func init() {
	register(api{
		key: 10, min: 0, max: 6, handle: typed(findCoordinator),
		doc: "This broker, for consumer groups. Transactions are refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, share groups with INVALID_REQUEST.",
	})
}

// The types of coordinators that consumer groups and transactions have.
const (
	groupCoordinator       = 0
	transactionCoordinator = 1
)

func findCoordinator(c *call, req *kmsg.FindCoordinatorRequest) {
	if err := checkNames(req.CoordinatorKeys); err != nil {
		c.fail(err)
		return
	}
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		resp.Coordinators = append(resp.Coordinators, c.coordinator(key, req.CoordinatorType))
	}
	if req.Version < 4 {
		only := resp.Coordinators[0]
		resp.NodeID, resp.Host, resp.Port = only.NodeID, only.Host, only.Port
		resp.ErrorCode, resp.ErrorMessage = only.ErrorCode, only.ErrorMessage
	}
	c.reply(resp)
}

// errNoTransactions is the text with an error code for something else, which clients give up
// with.
var errNoTransactions = errors.New("mbus has no transactions: leave transactional.id unset; a producer is idempotent without it")

func (c *call) coordinator(key string, kind int8) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key = key
	if kind != groupCoordinator {
		out.NodeID, out.Port = -1, -1
		out.ErrorCode = kerr.InvalidRequest.Code
		out.ErrorMessage = text(fmt.Errorf("there are only coordinators of consumer groups here, none of type %d", kind))
		if kind == transactionCoordinator {
			out.ErrorCode, out.ErrorMessage = kerr.TransactionalIDAuthorizationFailed.Code, text(errNoTransactions)
			c.server.log.Warn("a Kafka client asks for transactions, which mbus does not have: unset its transactional.id",
				"transactional.id", key, "client", c.client())
		}
		return out
	}
	if err := c.conn.view.Allow(broker.Describe, broker.GroupResource, key); err != nil {
		out.NodeID, out.Port = -1, -1
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		return out
	}
	self := c.self()
	out.NodeID, out.Host, out.Port = self.id, self.host, self.port
	return out
}
