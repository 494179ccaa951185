package web

import "net/http"

// metaOperations tell of the broker itself.
func metaOperations() []operation {
	return []operation{{
		id: "getVersion", method: http.MethodGet, path: "/version", tag: "Observe",
		summary: "The version of the broker",
		answers: []answer{{status: http.StatusOK, types: []string{typeJSON}, about: "the version", body: version{}}},
		serve:   func(c *call) error { return c.json(http.StatusOK, version{c.server.opts.Version}) },
	}}
}

type version struct {
	Version string `json:"version"`
}
