package main

import (
	"fmt"
	"math"
	"time"

	"mbus/bench/measure"
)

// A table has rows of throughput and single numbers, each with a value a round.
type table struct {
	rows    []*row
	numbers []*number

	short, long      int    // messages of the backlogs
	backlogNote      string // if they are not what they should be
	topicCount, idle int    // topics, and idle followers and as many producers, as there were
	eventCount       int    // followers of events

	clientCount, pacedCount int    // clients that publish one at a time, and at a fixed rate
	syncsNote, slowNote     string // why syncs were not counted, why there was no slow disk
	metricCount             int    // topics, and as many groups, of the metrics
}

func (t *table) backlogOf(n int) string { return "a backlog of " + whole(n) + t.backlogNote }

// Names of the rows that drain the backlogs.
func (t *table) drainShort() string { return "drain " + t.backlogOf(t.short) }
func (t *table) drainLong() string  { return "drain " + t.backlogOf(t.long) }

type row struct {
	name                   string
	rate, mbs, share, each []float64 // messages/s, MB/s, of the limit, processor us a message
	limit                  string
}

type number struct {
	name, unit string
	values     []float64
}

// A sample is one round's measurement of a row. What is 0 is not shown.
type sample struct {
	messages, bytes int
	took, processor time.Duration
	limit           string  // the machine's row to compare with
	limitRate       float64 // in the unit of that row: bytes or messages a second
	byMessages      bool    // compare messages, not bytes
}

func (t *table) add(name string, s sample) {
	r := t.row(name)
	if r == nil {
		r = &row{name: name, limit: s.limit}
		t.rows = append(t.rows, r)
	}
	rate, bytes := float64(s.messages)/s.took.Seconds(), float64(s.bytes)/s.took.Seconds()
	r.rate, r.mbs = append(r.rate, rate), append(r.mbs, bytes/1e6)
	if s.limitRate > 0 {
		share := bytes / s.limitRate
		if s.byMessages {
			share = rate / s.limitRate
		}
		r.share = append(r.share, share)
	}
	if s.processor > 0 {
		r.each = append(r.each, float64(s.processor.Nanoseconds())/1e3/float64(s.messages))
	}
}

// row gives the row of a name, nil if there is none.
func (t *table) row(name string) *row {
	for _, r := range t.rows {
		if r.name == name {
			return r
		}
	}
	return nil
}

// rate is the median of a row's messages a second, NaN if there is none; so are
// those that follow of what they are about.
func (t *table) rate(name string) float64 {
	return t.of(name, func(r *row) []float64 { return r.rate })
}

func (t *table) mbs(name string) float64 {
	return t.of(name, func(r *row) []float64 { return r.mbs })
}

func (t *table) share(name string) float64 {
	return t.of(name, func(r *row) []float64 { return r.share })
}

func (t *table) each(name string) float64 {
	return t.of(name, func(r *row) []float64 { return r.each })
}

func (t *table) of(name string, column func(*row) []float64) float64 {
	if r := t.row(name); r != nil {
		return median(column(r))
	}
	return math.NaN()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return measure.Median(values)
}

func (t *table) number(name, unit string, value float64) {
	for _, n := range t.numbers {
		if n.name == name {
			n.values = append(n.values, value)
			return
		}
	}
	t.numbers = append(t.numbers, &number{name, unit, []float64{value}})
}

// value is the median of a number, NaN if there is none.
func (t *table) value(name string) float64 {
	for _, n := range t.numbers {
		if n.name == name {
			return median(n.values)
		}
	}
	return math.NaN()
}

// columns are the titles of what is shown of a row.
var columns = []string{"messages/s", "MB/s", "of the limit", "processor, µs/msg"}

// cells are what is shown of a row.
func (r *row) cells() []string {
	return []string{
		measure.Thousands(measure.Median(r.rate)), shown("%.0f", r.mbs), shown("%.2f "+r.limit, r.share), shown("%.3f", r.each),
	}
}

func shown(format string, values []float64) string {
	if measure.Median(values) == 0 {
		return ""
	}
	return fmt.Sprintf(format, measure.Median(values))
}
