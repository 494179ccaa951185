package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// SaslHandshake, version 1: begins a log-in, or another one of the same user (KIP-368). Version 0, after which
// clients send SASL messages without frames, is UNSUPPORTED_VERSION; it is advertised, because librdkafka
// tries no SASL without it, and sends version 1. PLAIN is offered where nobody
// else can read the password. After an error the connection is closed, as in Kafka.
func init() {
	register(api{
		key: 17, min: 0, max: 1, handle: typed(saslHandshake),
		doc: "Version 0 is refused. PLAIN (over TLS, or on a loopback address), SCRAM-SHA-256 and SCRAM-SHA-512.",
	})
}

// plainMechanism is that of RFC 4616.
const plainMechanism = "PLAIN"

func saslHandshake(c *call, req *kmsg.SASLHandshakeRequest) {
	resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	s := &c.conn.session
	for _, m := range auth.Mechanisms {
		resp.SupportedMechanisms = append(resp.SupportedMechanisms, string(m))
	}
	if s.client.IsPrivate {
		resp.SupportedMechanisms = append(resp.SupportedMechanisms, plainMechanism)
	}
	switch {
	case req.Version == 0:
		resp.ErrorCode, s.failed = kerr.UnsupportedVersion.Code, errLogin
	case s.mechanism != "":
		resp.ErrorCode, s.failed = kerr.IllegalSaslState.Code, errLogin
	case !slices.Contains(resp.SupportedMechanisms, req.Mechanism):
		resp.ErrorCode, s.failed = kerr.UnsupportedSaslMechanism.Code, errLogin
	default:
		s.mechanism = req.Mechanism
		if req.Mechanism != plainMechanism {
			s.exchange = c.server.broker.Users().Exchange(auth.Mechanism(req.Mechanism))
		}
	}
	c.reply(resp)
}
