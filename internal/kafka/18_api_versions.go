package kafka

import (
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions, versions 0 to 4: what this broker answers, from the registry. A
// version that is not known is answered in version 0 with UNSUPPORTED_VERSION
// (KIP-511). There are no features to tell of.
func init() {
	register(api{
		key: 18, min: 0, max: 4, handle: typed(apiVersions),
		doc: "An unknown version is answered in version 0. No features.",
	})
}

// softwareName is what KIP-511 allows for a client's name and version.
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

// unsupportedVersion is the answer to an ApiVersions request of a version that is
// not known: the client learns which are, and asks again.
func unsupportedVersion() *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = append(resp.ApiKeys, keyVersions(apis[18]))
	return resp
}
