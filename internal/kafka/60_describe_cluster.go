package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster, versions 0 to 2: this broker, which is also the controller, and the other nodes of its cluster. There
// are no separate controllers (endpoint type 2). Authorized operations are not set. It takes no permission, as in Kafka: Metadata
// has the same.
func init() {
	register(api{
		key: 60, min: 0, max: 2, handle: typed(describeCluster),
		doc: "The nodes of the cluster, or one broker. The one that owns the topics is the controller. No authorized operations.",
	})
}

// Endpoint types.
const (
	brokers     = 1
	controllers = 2
)

func describeCluster(c *call, req *kmsg.DescribeClusterRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ClusterID = c.server.opts.ClusterID
	resp.ControllerID = c.server.opts.NodeID
	resp.EndpointType = brokers
	switch req.EndpointType {
	case brokers:
	case controllers:
		resp.ErrorCode = kerr.MismatchedEndpointType.Code
	default:
		resp.ErrorCode = kerr.UnsupportedEndpointType.Code
	}
	if resp.ErrorCode != 0 {
		resp.ErrorMessage = text(fmt.Errorf("this is a broker, and not an endpoint of type %d", req.EndpointType))
		c.reply(resp)
		return
	}
	for _, n := range c.nodes() {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port = n.id, n.host, n.port
		resp.Brokers = append(resp.Brokers, b)
	}
	c.reply(resp)
}
