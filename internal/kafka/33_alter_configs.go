package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// AlterConfigs, versions 0 to 2: replaces all that a topic has set for itself. What
// can't be set may be named with the value that it has anyway; everything else is
// answered with INVALID_CONFIG. It is on disk when the answer is sent.
func init() {
	register(api{
		key: 33, min: 0, max: 2, handle: typed(alterConfigs),
		doc: "Replaces all settings of a topic. Settings of the broker can't be altered.",
	})
}

func alterConfigs(c *call, req *kmsg.AlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	for i := range req.Resources {
		in := &req.Resources[i]
		changes := make([]change, len(in.Configs))
		for j := range in.Configs {
			changes[j] = change{name: in.Configs[j].Name, value: in.Configs[j].Value}
		}
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		err := c.alter(in.ResourceType, in.ResourceName, changes, true, req.ValidateOnly)
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		resp.Resources = append(resp.Resources, out)
	}
	c.reply(resp)
}
