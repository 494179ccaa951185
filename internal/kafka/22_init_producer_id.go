package kafka

import (
	"crypto/rand"
	"encoding/binary"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerId, versions 0 to 5: a new producer id for an idempotent producer,
// or the next epoch of the one it has. Ids are random, so that none is given
// twice though none is stored. Transactional ids are refused with
// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients don't retry.
func init() {
	register(api{
		key: 22, min: 0, max: 5, handle: typed(initProducerID),
		doc: "Idempotent producers only: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED.",
	})
}

func initProducerID(c *call, req *kmsg.InitProducerIDRequest) {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	switch {
	case req.TransactionalID != nil:
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
	case req.Version >= 3 && req.ProducerID >= 0 && req.ProducerEpoch >= 0 && req.ProducerEpoch < math.MaxInt16:
		resp.ProducerID, resp.ProducerEpoch = req.ProducerID, req.ProducerEpoch+1
	default:
		resp.ProducerID, resp.ProducerEpoch = newProducerID(), 0
	}
	c.reply(resp)
}

// newProducerID is a random number of 62 bits.
func newProducerID() int64 {
	var p [8]byte
	rand.Read(p[:]) // never fails
	return int64(binary.BigEndian.Uint64(p[:]) >> 2)
}
