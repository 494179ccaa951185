package web

import (
	"net/http"
	"strings"
)

const (
	codeNotReady = "NOTREADY"
	typeText     = "text/plain; charset=utf-8"
)

// observeOperations measure the broker.
func observeOperations() []operation {
	m := newMetrics()
	return append(profileOperations(), []operation{
		{
			id: "getMetrics", method: http.MethodGet, path: "/metrics", tag: "Observe",
			summary: "Numbers of the broker, its topics and its groups, for Prometheus",
			answers: []answer{{status: http.StatusOK, types: []string{"text/plain"}, about: "the metrics, in the text format of Prometheus"}},
			serve:   m.serve,
		},
		{
			id: "getLive", method: http.MethodGet, path: "/livez", tag: "Observe",
			summary:  "Whether the broker runs",
			answers:  []answer{{status: http.StatusOK, types: []string{"text/plain"}, about: "it runs"}},
			audience: forAnyone, serve: alive,
		},
		{
			id: "getReady", method: http.MethodGet, path: "/readyz", tag: "Observe",
			summary: "Whether clients can publish and consume; 503 says in its detail what prevents it",
			params: []param{{
				name: "exclude", many: true, example: "disk-space",
				about: "a check that does not count: " + strings.Join(allChecks, ", "),
			}},
			answers:  []answer{{status: http.StatusOK, types: []string{"text/plain"}, about: "they can"}},
			audience: forAnyone, serve: ready,
		},
		{
			id: "getHealth", method: http.MethodGet, path: "/healthz", tag: "Observe",
			summary: "What is wrong with the broker. A client that may not describe the broker as a whole gets the status only.",
			answers: []answer{
				{status: http.StatusOK, types: []string{typeJSON}, about: "clients can publish and consume; a check that is degraded says what is wrong", body: healthReport{}},
				{status: http.StatusServiceUnavailable, types: []string{typeJSON}, about: "they can't; a check that has failed says why", body: healthReport{}},
			},
			audience: forGuests, serve: healthy,
		},
	}...)
}
