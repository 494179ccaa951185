package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"mbus/bench/measure"
	"mbus/bench/plot"
)

const messageSize = measure.Size

// A picture is a chart of some metrics.
type picture struct {
	file, title, axis string
	keys              []string
	log               bool
	format            func(float64) string
}

var pictures = []picture{
	{"benchmarks-throughput.svg", "Messages of 100 bytes a second", "messages a second; longer is better", []string{"publish", "drain", "stream"}, false, nil},
	{"benchmarks-latency.svg", "Latency at a fixed rate", "milliseconds from due to received, logarithmic; shorter is better", []string{"p50", "p99", "p99.9"}, true, decimals},
	{"benchmarks-singly.svg", "32 clients, one message at a time", "messages a second; longer is better", []string{"singly"}, false, nil},
	{"benchmarks-fanout.svg", "Fan-out", "deliveries a second; longer is better", []string{"fanout10", "fanout100"}, false, nil},
	{"benchmarks-processor.svg", "Processor time of the broker", "microseconds a message; shorter is better", []string{"in", "out"}, false, decimals},
	{"benchmarks-memory.svg", "Resident memory of the broker", "MB, logarithmic; shorter is better", []string{"idle", "peak"}, true, tenths},
}

// charts writes the pictures into dir, and where they are into the document.
func (rep *report) charts(dir string, doc io.Writer) error {
	fmt.Fprint(doc, "## Charts\n\n")
	for _, p := range pictures {
		c := rep.chart(p)
		if len(c.Rows) == 0 {
			continue
		}
		var svg strings.Builder
		if err := c.WriteSVG(&svg); err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(svg.String()), 0o666); err != nil {
			return err
		}
		fmt.Fprintf(doc, "![%s](%s)\n\n", p.title, p.file)
	}
	return nil
}

func (rep *report) chart(p picture) *plot.Chart {
	c := &plot.Chart{Title: p.title, Axis: p.axis, Log: p.log, Format: p.format}
	columns := rep.columns(p.keys)
	for _, m := range columns {
		c.Series = append(c.Series, m.title)
	}
	for _, name := range rep.rows() {
		row := plot.Row{Label: name, Dim: strings.HasPrefix(name, "machine")}
		any := false
		for _, m := range columns {
			v, ok := rep.median(name, m.key)
			if !ok {
				v = math.NaN()
			}
			any = any || ok
			row.Values = append(row.Values, v)
		}
		if any {
			c.Rows = append(c.Rows, row)
		}
	}
	return c
}
