package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeConfigs, versions 0 to 4: the settings of topics and of this broker that
// Kafka has names for. All are read-only: they are the broker's flags, or always
// the same. No synonyms.
func init() {
	register(api{
		key: 32, min: 0, max: 4, handle: typed(describeConfigs),
		doc: "Topics and this broker. All are read-only. No synonyms.",
	})
}

func describeConfigs(c *call, req *kmsg.DescribeConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	answered := make(map[resource]bool)
	for i := range req.Resources {
		in := &req.Resources[i]
		if r := (resource{in.ResourceType, in.ResourceName}); in.ConfigNames == nil {
			if answered[r] { // one that is named often is told once
				continue
			}
			answered[r] = true
		}
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		configs, err := c.server.resourceConfigs(in.ResourceType, in.ResourceName)
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		for _, config := range configs {
			if in.ConfigNames == nil || slices.Contains(in.ConfigNames, config.name) {
				out.Configs = append(out.Configs, config.describe(req.IncludeDocumentation))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	c.reply(resp)
}

type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

func (c *config) describe(withDoc bool) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value = c.name, kmsg.StringPtr(c.value)
	out.ReadOnly, out.Source, out.ConfigType = true, c.source, c.kind
	out.IsDefault = c.source == kmsg.ConfigSourceDefaultConfig
	if withDoc {
		out.Documentation = &c.doc
	}
	return out
}
