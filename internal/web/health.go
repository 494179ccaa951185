package web

import (
	"net/http"
	"slices"
	"strings"

	"mbus/internal/broker"
)

// checkStopping is a check beside those of the broker.
const checkStopping = "stopping"

var allChecks = append([]string{checkStopping}, broker.Checks...)

// health is the state of the broker and of this server.
func (c *call) health() (broker.Health, error) {
	h, err := c.view.Health()
	if err == nil && c.server.isStopping() {
		h.Problems = append(h.Problems, broker.Problem{Check: checkStopping, Grave: true, Detail: "The broker is stopping."})
	}
	return h, err
}

// A healthReport is what /healthz answers.
type healthReport struct {
	Status  string        `json:"status"` // of all checks: the worst
	Version string        `json:"version"`
	Checks  []checkResult `json:"checks"`
	Disk    diskReport    `json:"disk"`
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

// alive answers that the process runs.
func alive(c *call) error { return c.text(http.StatusOK, "ok\n") }

// ready answers whether clients can publish and consume.
func ready(c *call) error {
	for _, check := range c.query["exclude"] {
		if !slices.Contains(allChecks, check) {
			return badRequest("parameter %q: it takes %s, not %q", "exclude", strings.Join(allChecks, ", "), check)
		}
	}
	h, err := c.health()
	if err != nil {
		return err
	}
	var wrong []string
	for _, p := range h.Problems {
		if p.Grave && !slices.Contains(c.query["exclude"], p.Check) {
			wrong = append(wrong, p.Detail)
		}
	}
	if len(wrong) > 0 {
		return &problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: strings.Join(wrong, " ")}
	}
	return c.text(http.StatusOK, "ok\n")
}

// healthy answers with all checks.
func healthy(c *call) error {
	h, err := c.health()
	if err != nil {
		return err
	}
	report := healthReport{Status: statusOK, Version: c.server.opts.Version, Disk: diskReport{h.Disk.Free, h.Disk.Size, h.Disk.Reserve}}
	status := http.StatusOK
	for _, check := range allChecks {
		result := checkResult{Name: check, Status: statusOK}
		for _, p := range h.Problems {
			if p.Check != check {
				continue
			}
			result.Status, result.Detail = statusDegraded, p.Detail
			if p.Grave {
				result.Status, status = statusFailed, http.StatusServiceUnavailable
			}
			if report.Status != statusFailed {
				report.Status = result.Status
			}
		}
		report.Checks = append(report.Checks, result)
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
