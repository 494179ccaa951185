package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsumerGroupHeartbeat, versions 0 to 1: always UNSUPPORTED_VERSION, as in a Kafka broker
// with the group protocol of KIP-848 switched off. The key is advertised, because librdkafka,
// configured for that protocol, takes its absence for a coordinator that will come back and
// waits for ever; it reports the error.
func init() {
	register(api{
		key: 68, min: 0, max: 1, handle: typed(consumerGroupHeartbeat),
		doc: "Always UNSUPPORTED_VERSION. Clients report it, or go on with the classic protocol.",
	})
}

func consumerGroupHeartbeat(c *call, req *kmsg.ConsumerGroupHeartbeatRequest) {
	resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	c.reply(resp)
}
