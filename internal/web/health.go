package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"mbus/internal/broker"
)

// Checks beside those of the broker.
const (
	checkStopping = "stopping"
	checkExposure = "exposure"
	checkCluster  = "cluster" // of a node
)

var allChecks = append([]string{checkStopping, checkExposure, checkCluster}, broker.Checks...)

// checks are those that are made of this broker.
func (s *Server) checks() []string {
	if s.opts.Cluster != nil {
		return allChecks
	}
	return slices.DeleteFunc(slices.Clone(allChecks), func(name string) bool { return name == checkCluster })
}

// health is the state of the broker and of this server.
func (c *call) health() (broker.Health, error) { return c.server.healthFor(c.view) }

func (s *Server) healthFor(v *broker.View) (broker.Health, error) {
	h, err := v.Health()
	if err == nil && s.isStopping() {
		h.Problems = append(h.Problems, broker.Problem{Check: checkStopping, Grave: true, Detail: "The broker is stopping."})
	}
	if lacks := s.broker.Exposure(); err == nil && lacks != "" {
		h.Problems = append(h.Problems, broker.Problem{
			Check: checkExposure, Detail: "Other machines reach this broker without " + lacks + ", because it was started with -insecure: whoever reaches it can read or change what it has.",
		})
	}
	if err == nil && s.opts.Cluster != nil {
		ctx, cancel := context.WithTimeout(context.Background(), reportTime)
		defer cancel()
		if wrong := s.opts.Cluster.Report(ctx).Problems; len(wrong) > 0 {
			h.Problems = append(h.Problems, broker.Problem{Check: checkCluster, Detail: "Of the cluster: " + strings.Join(wrong, "; ") + "."})
		}
	}
	return h, err
}

// A healthReport is what /healthz answers.
type healthReport struct {
	Status  string        `json:"status"`            // of all checks: the worst
	Version string        `json:"version,omitempty"` // this and what follows is for those who may look at the broker as a whole
	Checks  []checkResult `json:"checks,omitempty"`
	Disk    diskReport    `json:"disk,omitzero"`
}

// A checkResult is what a check has found.
type checkResult struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"` // a sentence
}

type diskReport struct {
	Free    int64 `json:"free"` // bytes, as all of these
	Size    int64 `json:"size"`
	Reserve int64 `json:"reserve"`
}

// The states of a check.
const (
	statusOK       = "ok"
	statusDegraded = "degraded" // something is wrong, and clients are served
	statusFailed   = "failed"
)

// checkResults are what all checks have found.
func (s *Server) checkResults(problems []broker.Problem) (all []checkResult) {
	for _, check := range s.checks() {
		r := checkResult{Name: check, Status: statusOK}
		for _, p := range problems {
			if p.Check == check {
				r.Status, r.Detail = statusDegraded, p.Detail
				if p.Grave {
					r.Status = statusFailed
				}
			}
		}
		all = append(all, r)
	}
	return all
}

// worstOf is the status of all checks.
func worstOf(problems []broker.Problem) string {
	switch {
	case slices.ContainsFunc(problems, func(p broker.Problem) bool { return p.Grave }):
		return statusFailed
	case len(problems) > 0:
		return statusDegraded
	}
	return statusOK
}

// alive answers that the process runs.
func alive(c *call) error { return c.text(http.StatusOK, "ok\n") }

// ready answers whether clients can publish and consume.
func ready(c *call) error {
	for _, check := range c.query["exclude"] {
		if !slices.Contains(allChecks, check) {
			return badRequest("parameter %q: it takes %s, not %q", "exclude", strings.Join(allChecks, ", "), check)
		}
	}
	h, err := c.server.healthFor(c.server.broker.As(broker.Self))
	if err != nil {
		return err
	}
	var wrong []string
	for _, p := range h.Problems {
		switch {
		case !p.Grave || slices.Contains(c.query["exclude"], p.Check):
		case looks(c):
			wrong = append(wrong, p.Detail)
		default:
			wrong = append(wrong, p.Check)
		}
	}
	if len(wrong) > 0 {
		return &problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: strings.Join(wrong, " ")}
	}
	return c.text(http.StatusOK, "ok\n")
}

// looks reports whether the client may look at the broker as a whole.
func looks(c *call) bool { return broker.May(c.view, broker.Describe, broker.ClusterResource, "") }

// healthy answers with all checks, or with their worst status only.
func healthy(c *call) error {
	h, err := c.server.healthFor(c.server.broker.As(broker.Self))
	if err != nil {
		return err
	}
	report := healthReport{Status: worstOf(h.Problems), Version: c.server.opts.Version, Checks: c.server.checkResults(h.Problems), Disk: diskReport{h.Disk.Free, h.Disk.Size, h.Disk.Reserve}}
	status := http.StatusOK
	if report.Status == statusFailed {
		status = http.StatusServiceUnavailable
	}
	if !looks(c) {
		report = healthReport{Status: report.Status}
	}
	return c.json(status, report)
}

// text answers with text.
func (c *call) text(status int, text string) error {
	c.w.Header().Set("Content-Type", typeText)
	c.w.WriteHeader(status)
	_, err := c.w.Write([]byte(text))
	return err
}
