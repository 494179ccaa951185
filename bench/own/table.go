package main

import (
	"fmt"
	"io"
	"time"

	"mbus/bench/machine"
	"mbus/bench/measure"
)

// A table has rows of throughput and single numbers, each with a value a round.
type table struct {
	rows    []*row
	numbers []*number
}

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

func (t *table) row(name string) *row {
	for _, r := range t.rows {
		if r.name == name {
			return r
		}
	}
	return nil
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

// value is the median of a number.
func (t *table) value(name string) float64 {
	for _, n := range t.numbers {
		if n.name == name {
			return measure.Median(n.values)
		}
	}
	return 0
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", machine.Describe())
	fmt.Fprintf(w, "%-46s %12s %9s %15s %12s\n", "", "messages/s", "MB/s", "of the limit", "cpu us/msg")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%-46s %12s %9.0f %15s %12s\n", r.name, measure.Thousands(measure.Median(r.rate)), measure.Median(r.mbs),
			shown("%.2f "+r.limit, r.share), shown("%.2f", r.each))
	}
	fmt.Fprintln(w)
	for _, n := range t.numbers {
		fmt.Fprintf(w, "%-46s %12.1f %s\n", n.name, measure.Median(n.values), n.unit)
	}
}

func shown(format string, values []float64) string {
	if len(values) == 0 {
		return ""
	}
	return fmt.Sprintf(format, measure.Median(values))
}
