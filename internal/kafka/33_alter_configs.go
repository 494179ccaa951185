package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// AlterConfigs, versions 0 to 2: replaces all settings of a topic. A setting that cannot be
// changed may be named with its present value; otherwise it is INVALID_CONFIG. The settings
// are on disk when the response is sent.
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
