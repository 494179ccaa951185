package web

import (
	"encoding/hex"
	"maps"
	"net/http"
	"runtime"
	"slices"

	"mbus/internal/broker"
)

func hexID(id [16]byte) string { return hex.EncodeToString(id[:]) }

// A setting is one of a topic's.
type setting struct{ Name, Value, Text string }

// settings are those that the topic has set for itself, and what holds for retention.
func settings(t *broker.Topic) (all []setting) {
	own := t.Config()
	ms, _ := t.Retention()
	for _, name := range slices.Sorted(maps.Keys(own)) {
		s := setting{Name: name, Value: own[name]}
		if name == broker.ConfigRetention {
			s.Text = retentionText(ms)
		}
		all = append(all, s)
	}
	return all
}

// A healthView shows the state of the broker.
type healthView struct {
	Report     broker.Health
	Status     string
	Checks     []checkResult
	Durability string
	GoVersion  string
	Addresses  []setting
	Conns      int // of HTTP
}

func showHealth(c *call) error {
	h, err := c.health()
	if err != nil {
		return err
	}
	d := healthView{Report: h, Status: c.status(), GoVersion: runtime.Version(), Durability: "A message is acknowledged when it is synced to the disk."}
	if every := c.server.opts.SyncEvery; every > 0 {
		d.Durability = "A message is acknowledged before it is synced; there is a sync every " + every.String() + ". A power cut may lose the messages since the last one."
	}
	for _, check := range allChecks {
		r := checkResult{Name: check, Status: statusOK}
		for _, p := range h.Problems {
			if p.Check == check {
				if r.Status, r.Detail = statusDegraded, p.Detail; p.Grave {
					r.Status = statusFailed
				}
			}
		}
		d.Checks = append(d.Checks, r)
	}
	for _, name := range slices.Sorted(maps.Keys(c.server.opts.Ports)) {
		d.Addresses = append(d.Addresses, setting{Name: name, Value: c.server.opts.Ports[name]})
	}
	c.server.conns.Each(func(*conn) { d.Conns++ })
	return c.show(http.StatusOK, "health", view{Title: "Health", Nav: "health", Live: "group=-", Data: d})
}
