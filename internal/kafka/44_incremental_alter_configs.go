package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// IncrementalAlterConfigs, versions 0 and 1: SET and DELETE settings of a topic, all of a
// request or none; APPEND and SUBTRACT elements of lists. Otherwise as AlterConfigs.
func init() {
	register(api{
		key: 44, min: 0, max: 1, handle: typed(incrementalAlterConfigs),
		doc: "For topics. APPEND and SUBTRACT for lists; for others they are INVALID_CONFIG.",
	})
}

func incrementalAlterConfigs(c *call, req *kmsg.IncrementalAlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		changes, err := increments(in)
		if err == nil {
			err = c.alter(in.ResourceType, in.ResourceName, changes, false, req.ValidateOnly)
		}
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		resp.Resources = append(resp.Resources, out)
	}
	c.reply(resp)
}

// increments are the changes of a request, one for each setting.
func increments(r *kmsg.IncrementalAlterConfigsRequestResource) ([]change, error) {
	changes := make([]change, len(r.Configs))
	named := make(map[string]bool)
	for i := range r.Configs {
		in := &r.Configs[i]
		switch {
		case named[in.Name]:
			return nil, fmt.Errorf("%w: %q is named twice", kerr.InvalidRequest, in.Name)
		case in.Op == kmsg.IncrementalAlterConfigOpDelete:
			changes[i] = change{name: in.Name}
		case in.Value == nil:
			return nil, fmt.Errorf("%w: %q is to be set to null", kerr.InvalidRequest, in.Name)
		case in.Op == kmsg.IncrementalAlterConfigOpSet:
			changes[i] = change{name: in.Name, value: in.Value}
		case in.Op == kmsg.IncrementalAlterConfigOpAppend:
			changes[i] = change{in.Name, in.Value, appended}
		case in.Op == kmsg.IncrementalAlterConfigOpSubtract:
			changes[i] = change{in.Name, in.Value, subtracted}
		default:
			return nil, fmt.Errorf("%w: %q: there is no operation %d", kerr.InvalidRequest, in.Name, in.Op)
		}
		named[in.Name] = true
	}
	return changes, nil
}
