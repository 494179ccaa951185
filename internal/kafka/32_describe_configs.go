package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeConfigs, versions 0 to 4: the settings of topics and of this broker for which Kafka
// has names, and the source of each: the topic, a flag of the broker, or the code. Those that
// cannot be set for a topic are read-only. Null or an empty list of names stands for all.
func init() {
	register(api{
		key: 32, min: 0, max: 4, handle: typed(describeConfigs),
		doc: "Topics and this broker, with synonyms. Settings of the broker alone are read-only.",
	})
}

func describeConfigs(c *call, req *kmsg.DescribeConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	seen := make(map[resource]bool)
	for i := range req.Resources {
		in := &req.Resources[i]
		if r := (resource{in.ResourceType, in.ResourceName}); len(in.ConfigNames) == 0 {
			if seen[r] { // each once, however often it is named
				continue
			}
			seen[r] = true
		}
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		configs, err := c.settings().of(in.ResourceType, in.ResourceName)
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		for _, config := range configs {
			if len(in.ConfigNames) == 0 || slices.Contains(in.ConfigNames, config.name) {
				out.Configs = append(out.Configs, config.describe(req.IncludeSynonyms, req.IncludeDocumentation))
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

func (c *config) describe(withSynonyms, withDoc bool) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value = c.name, kmsg.StringPtr(c.value)
	out.ReadOnly, out.Source, out.ConfigType = !c.settable, c.source, c.kind
	out.IsDefault = c.source == kmsg.ConfigSourceDefaultConfig
	if withSynonyms {
		out.ConfigSynonyms = c.synonyms()
	}
	if withDoc {
		out.Documentation = &c.doc
	}
	return out
}

// synonyms are the values of a setting in order of precedence: the topic's, and the default
// for all topics, under its name in the broker's configuration. A setting that is not set has
// none.
func (c *config) synonyms() (all []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym) {
	if c.source == fromCode {
		return nil
	}
	for ; c != nil; c = c.beneath {
		s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		s.Name, s.Value, s.Source = c.name, kmsg.StringPtr(c.value), c.source
		if c.source != kmsg.ConfigSourceDynamicTopicConfig && c.general != "" {
			s.Name = c.general
		}
		all = append(all, s)
	}
	return all
}
