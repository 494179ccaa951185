package kafka

import (
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions, versions 0 to 4: the registered keys and versions. An unknown version gets
// UNSUPPORTED_VERSION in version 0 (KIP-511). There are no features.
func init() {
	register(api{
		key: 18, min: 0, max: 4, handle: typed(apiVersions),
		doc: "An unknown version gets a response of version 0. No features.",
	})
}

// softwareName is the form of a client's name and version in KIP-511.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

func apiVersions(c *call, req *kmsg.ApiVersionsRequest) {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if req.Version >= 3 && !(softwareName.MatchString(req.ClientSoftwareName) && softwareName.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		c.reply(resp)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(apis)) {
		resp.ApiKeys = append(resp.ApiKeys, keyVersions(apis[key]))
	}
	c.reply(resp)
}

func keyVersions(a *api) kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
	return k
}

// unsupportedVersion is the response to an ApiVersions request of an unknown version: the
// client reads the known ones in it and repeats the request.
func unsupportedVersion() *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = append(resp.ApiKeys, keyVersions(apis[18]))
	return resp
}
