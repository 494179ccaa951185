package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// DescribeCluster, versions 0 to 2: this broker alone, which is the controller,
// too. Authorized operations are not told.
func init() {
	register(api{
		key: 60, min: 0, max: 2, handle: typed(describeCluster),
		doc: "One broker, which is the controller. No authorized operations.",
	})
}

func describeCluster(c *call, req *kmsg.DescribeClusterRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ClusterID = c.server.opts.ClusterID
	resp.ControllerID = c.server.opts.NodeID
	resp.EndpointType = req.EndpointType
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID = c.server.opts.NodeID
	b.Host, b.Port = c.conn.address()
	resp.Brokers = append(resp.Brokers, b)
	c.reply(resp)
}
