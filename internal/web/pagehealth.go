package web

import (
	"context"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"

	"mbus/internal/broker"
	"mbus/internal/cluster"
)

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
	Conns      []connRow
	Store      storeRow
	Nodes      *cluster.Report // nil for a broker that is alone
}

// A connRow is the connections of a port.
type connRow struct {
	Port, Address           string
	Open, Accepted, Refused int64
}

// A storeRow is what the disk has done since the broker's start. Half of the syncs took at most P50.
type storeRow struct {
	Syncs    int64
	P50, P99 string
	Damage   int64 // places
}

// milliseconds is a time in nanoseconds as text.
func milliseconds(ns int64) string {
	if ns == 0 {
		return "–"
	}
	return "≤ " + strconv.FormatFloat(float64(ns)/1e6, 'g', 3, 64) + " ms"
}

func showHealth(c *call) error {
	h, err := c.health()
	if err != nil {
		return err
	}
	d := healthView{Report: h, Status: worstOf(h.Problems), Checks: c.server.checkResults(h.Problems), GoVersion: runtime.Version(), Durability: "A message is acknowledged when it is synced to the disk."}
	if every := c.server.opts.SyncEvery; every > 0 {
		d.Durability = "A message is acknowledged before it is synced; there is a sync every " + every.String() + ". A power cut may lose the messages since the last one."
	}
	for _, port := range []broker.Port{broker.Producers, broker.Consumers, broker.Kafka, broker.HTTP} {
		n := c.server.broker.Stats.Connections(port)
		d.Conns = append(d.Conns, connRow{port.String(), c.server.opts.Ports[port.String()], n.Open.Load(), n.Accepted.Load(), n.Refused.Load()})
	}
	if stats, err := c.view.StoreStats(); err == nil && stats != nil {
		_, syncs, _ := stats.Syncs.Buckets()
		d.Store = storeRow{int64(syncs), milliseconds(stats.Syncs.Quantile(0.5)), milliseconds(stats.Syncs.Quantile(0.99)), stats.Damage.Load()}
	}
	if nodes := c.server.opts.Cluster; nodes != nil {
		ctx, cancel := context.WithTimeout(c.r.Context(), reportTime)
		defer cancel()
		report := nodes.Report(ctx)
		d.Nodes = &report
	}
	return show(c, http.StatusOK, "health", view{Title: "Health", Nav: "health", Live: "group=-", Data: d})
}
