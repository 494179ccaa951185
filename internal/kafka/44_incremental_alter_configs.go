package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// IncrementalAlterConfigs, versions 0 and 1: there is nothing that can be altered.
// Setting what holds anyway, or deleting what was never set, is accepted;
// everything else is answered with INVALID_CONFIG.
func init() {
	register(api{
		key: 44, min: 0, max: 1, handle: typed(incrementalAlterConfigs),
		doc: "Accepts what holds anyway; everything else is INVALID_CONFIG.",
	})
}

func incrementalAlterConfigs(c *call, req *kmsg.IncrementalAlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		_, err := c.server.resourceConfigs(in.ResourceType, in.ResourceName)
		for j := range in.Configs {
			if err == nil {
				err = c.server.alterOne(in, &in.Configs[j])
			}
		}
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		resp.Resources = append(resp.Resources, out)
	}
	c.reply(resp)
}

func (s *Server) alterOne(r *kmsg.IncrementalAlterConfigsRequestResource, in *kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	switch in.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return s.alter(r.ResourceType, r.ResourceName, in.Name, in.Value)
	case kmsg.IncrementalAlterConfigOpDelete:
		return s.alter(r.ResourceType, r.ResourceName, in.Name, nil)
	}
	return fmt.Errorf("%w: %s can't be changed", kerr.InvalidConfig, in.Name)
}
