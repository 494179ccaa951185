package kafka

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerId, versions 0 to 5: a new producer id with epoch 0, whatever id the
// request brings, as in Kafka: to go on with the next epoch (KIP-360) is for
// transactional ids, which are refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED. Clients
// don't retry that.
func init() {
	register(api{
		key: 22, min: 0, max: 5, handle: typed(initProducerID),
		doc: "Idempotent producers only: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED.",
	})
}

func initProducerID(c *call, req *kmsg.InitProducerIDRequest) {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = newProducerID(), 0
	if req.TransactionalID != nil {
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
	}
	c.reply(resp)
}

// newProducerID is a random number of 62 bits. Nothing is kept of those that were given,
// so that neither a restart, a clock nor a data directory that was put back can have one
// given twice: of a million producers two have the same id once in nine million times.
func newProducerID() int64 {
	var p [8]byte
	rand.Read(p[:]) // never fails
	return int64(binary.BigEndian.Uint64(p[:]) >> 2)
}
