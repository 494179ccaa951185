package kafka

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// InitProducerId, versions 0 to 5: a new producer id with epoch 0, whatever id the request
// has, as in Kafka: only transactional ids continue with the next epoch (KIP-360), and they
// are refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients do not retry.
func init() {
	register(api{
		key: 22, min: 0, max: 5, handle: typed(initProducerID),
		doc: "Idempotent producers only: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED.",
	})
}

func initProducerID(c *call, req *kmsg.InitProducerIDRequest) {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = newProducerID(), 0
	if err := broker.AllowSome(c.conn.view, broker.Write); err != nil {
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		resp.ErrorCode = code(err)
	}
	if req.TransactionalID != nil {
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
	}
	c.reply(resp)
}

// newProducerID is a random number of 62 bits. Used ids are not stored, so that no restart,
// clock or restored data directory can make an id appear twice: two of a million producers
// have the same id with a probability of one in nine million.
func newProducerID() int64 {
	var p [8]byte
	rand.Read(p[:]) // never fails
	return int64(binary.BigEndian.Uint64(p[:]) >> 2)
}
