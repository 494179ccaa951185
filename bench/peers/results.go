package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"mbus/bench/measure"
)

// A metric is what is measured of a system.
type metric struct {
	key, title, unit string
	format           func(float64) string
}

func whole(v float64) string { return measure.Thousands(v) }

func decimals(v float64) string { return fmt.Sprintf("%.2f", v) }

func tenths(v float64) string { return fmt.Sprintf("%.1f", v) }

// metrics are the columns, in their order.
var metrics = []metric{
	{"publish", "publish", "msg/s", whole},
	{"drain", "drain", "msg/s", whole},
	{"stream", "both at once", "msg/s", whole},
	{"singly", "32 clients, one at a time", "msg/s", whole},
	{"fanout10", "to 10 groups", "deliveries/s", whole},
	{"fanout100", "to 100 groups", "deliveries/s", whole},
	{"p50", "latency p50", "ms", decimals},
	{"p99", "latency p99", "ms", decimals},
	{"p99.9", "latency p99.9", "ms", decimals},
	{"in", "processor, in", "µs/msg", decimals},
	{"out", "processor, out", "µs/msg", decimals},
	{"idle", "memory, idle", "MB", tenths},
	{"peak", "memory, peak", "MB", tenths},
	{"startup", "start-up", "ms", tenths},
}

// results are values by the name of a system and the key of a metric, one a
// round, and what could not be measured.
type results struct {
	values map[string]map[string][]float64
	failed map[string]bool // by the name of a system and a step
	notes  []string
}

func newResults() *results {
	return &results{values: make(map[string]map[string][]float64), failed: make(map[string]bool)}
}

func (r *results) add(system, key string, value float64) {
	if r.values[system] == nil {
		r.values[system] = make(map[string][]float64)
	}
	r.values[system][key] = append(r.values[system][key], value)
}

// rate adds a rate a second.
func (r *results) rate(system, key string, n int, took time.Duration) {
	r.add(system, key, float64(n)/took.Seconds())
}

// percentiles adds those of latencies, which ascend.
func (r *results) percentiles(system string, list []time.Duration) {
	for key, p := range map[string]float64{"p50": 0.5, "p99": 0.99, "p99.9": 0.999} {
		r.add(system, key, float64(measure.Percentile(list, p).Nanoseconds())/1e6)
	}
}

// median gives the median of the rounds, if there is one.
func (r *results) median(system, key string) (value float64, ok bool) {
	values := r.values[system][key]
	return measure.Median(values), len(values) > 0
}

// fail notes why something has failed; of several reasons the first.
func (r *results) fail(name string, err error) {
	r.failed[name] = true
	first, more, _ := strings.Cut(err.Error(), "\n")
	if more != "" {
		first += " (and more)"
	}
	r.note("%s: %s", name, first)
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, first)
}

// note remembers what a reader must know, once.
func (r *results) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}
