package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// AlterConfigs, versions 0 to 2: there is nothing that can be altered. What holds
// anyway is accepted, everything else is answered with INVALID_CONFIG.
func init() {
	register(api{
		key: 33, min: 0, max: 2, handle: typed(alterConfigs),
		doc: "Accepts what holds anyway; everything else is INVALID_CONFIG.",
	})
}

func alterConfigs(c *call, req *kmsg.AlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		_, err := c.server.resourceConfigs(in.ResourceType, in.ResourceName)
		for j := range in.Configs {
			if err == nil {
				err = c.server.alter(in.ResourceType, in.ResourceName, in.Configs[j].Name, in.Configs[j].Value)
			}
		}
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		resp.Resources = append(resp.Resources, out)
	}
	c.reply(resp)
}
