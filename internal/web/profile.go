package web

import (
	"net/http"
	"net/http/pprof"

	"mbus/internal/broker"
)

// profileOperations serve Go's profiles, if the options say so. They are for developers, and are not in the
// OpenAPI document.
func profileOperations() []operation {
	op := operation{
		id: "getProfile", method: http.MethodGet, path: "/debug/pprof/{profile...}", tag: "Observe", isPage: true,
		summary: "Profiles of the Go runtime, with -debug",
		params: []param{
			{name: "seconds", about: "how long to measure", kind: "integer"},
			{name: "debug", about: "1 or 2 for text", kind: "integer"},
			{name: "gc", about: "1 for a garbage collection before", kind: "integer"},
		},
		changes: true, // no page of another site may slow the broker down
		serve:   profile,
	}
	symbol := op
	symbol.method, symbol.id = http.MethodPost, "postProfileSymbols" // go tool pprof asks for names so
	return []operation{op, symbol}
}

func profile(c *call) error {
	if !c.server.opts.Debug {
		return &problem{Status: http.StatusNotFound, Code: codeNotFound, Detail: "profiles are served if the broker was started with -debug"}
	}
	if err := c.view.Allow(broker.Alter, broker.ClusterResource, ""); err != nil {
		return err
	}
	handler := pprof.Index // of all, and those that it lists
	switch c.r.PathValue("profile") {
	case "cmdline":
		handler = pprof.Cmdline
	case "profile":
		handler = pprof.Profile
	case "symbol":
		handler = pprof.Symbol
	case "trace":
		handler = pprof.Trace
	}
	handler(c.w, c.r)
	return nil
}
