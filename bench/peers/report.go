package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

// A report is everything that is said about a run.
type report struct {
	*results
	size     size
	rounds   int
	began    time.Time
	took     time.Duration
	load     float64 // of the machine before the run, as an average number of tasks
	systems  []*bus.System
	versions map[string]string
	leftOut  []string // not asked for

	interrupted atomic.Bool
}

// rows are the names of what was measured, the machine first.
func (rep *report) rows() []string {
	var list []string
	for _, name := range machineRows {
		if len(rep.values[name]) > 0 {
			list = append(list, name)
		}
	}
	for _, sys := range rep.systems {
		list = append(list, sys.Name)
	}
	return list
}

func (rep *report) cell(row string, m metric) string {
	if v, ok := rep.median(row, m.key); ok {
		return m.format(v)
	}
	return "–"
}

// Tables are narrow enough to be read: each has some of the metrics.
var tables = []struct {
	title string
	keys  []string
}{
	{"Throughput", []string{"publish", "drain", "stream", "singly"}},
	{"Latency", []string{"p50", "p99", "p99.9"}},
	{"Fan-out", []string{"fanout10", "fanout100"}},
	{"What a broker takes", []string{"in", "out", "idle", "peak", "startup"}},
}

func (rep *report) columns(keys []string) []metric {
	var list []metric
	for _, key := range keys {
		for _, m := range metrics {
			if m.key == key {
				list = append(list, m)
			}
		}
	}
	return list
}

// print writes the tables for a terminal.
func (rep *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s; medians of %d rounds, %v in all\n", machine.Describe(), rep.rounds, rep.took.Round(time.Second))
	for _, t := range tables {
		columns := rep.columns(t.keys)
		fmt.Fprintf(w, "\n%-38s", t.title)
		for _, m := range columns {
			fmt.Fprintf(w, " %18s", m.title)
		}
		fmt.Fprintf(w, "\n%-38s", "")
		for _, m := range columns {
			fmt.Fprintf(w, " %18s", m.unit)
		}
		fmt.Fprintln(w)
		for _, row := range rep.rowsWith(columns) {
			fmt.Fprintf(w, "%-38s", row)
			for _, m := range columns {
				fmt.Fprintf(w, " %18s", rep.cell(row, m))
			}
			fmt.Fprintln(w)
		}
	}
	for _, n := range rep.notes {
		fmt.Fprintln(w, "\nnote:", n)
	}
}

// rowsWith are the rows that have any of these metrics, and every system.
func (rep *report) rowsWith(columns []metric) []string {
	var list []string
	for _, row := range rep.rows() {
		_, isSystem := rep.versions[row]
		for _, m := range columns {
			if _, ok := rep.median(row, m.key); ok || isSystem {
				list = append(list, row)
				break
			}
		}
	}
	return list
}

// write makes BENCHMARKS.md and its charts in dir.
func (rep *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var doc strings.Builder
	rep.markdown(&doc)
	if err := rep.charts(dir, &doc); err != nil {
		return err
	}
	rep.configured(&doc)
	return os.WriteFile(filepath.Join(dir, "BENCHMARKS.md"), []byte(doc.String()), 0o666)
}

func (rep *report) markdown(w io.Writer) {
	fmt.Fprintf(w, `# Benchmarks

Written by `+"`make bench-peers`"+` on %s, in %v: mbus beside other brokers and
beside the limit of the machine, %s.

Medians of %d rounds. In each round every broker runs once, a process of its own
over an empty directory, and each round begins with another one. Load and
consumers are one other process, which shares the processor with the broker; it
takes each message out of what comes. Messages have %d bytes of random letters and
are not compressed. One topic, one partition, one node, loopback. What mbus is to reach
on this machine, and whether it does, is in [FIGURES.md](FIGURES.md).

`, rep.began.Format("2 January 2006"), rep.took.Round(time.Second), machine.Describe(), rep.rounds, messageSize)
	fmt.Fprintf(w, "- The load average was %.1f when the run began.\n", rep.load)
	if rep.load >= machine.Busy {
		fmt.Fprintln(w, "- **The machine was not quiet**: these figures are no measurement.")
	}
	if len(rep.leftOut) > 0 {
		fmt.Fprintf(w, "- Left out of this run: %s\n", strings.Join(rep.leftOut, ", "))
	}
	for _, n := range rep.notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
	fmt.Fprint(w, whatIsMeasured(rep.size))
	for _, t := range tables {
		rep.table(w, t.title, rep.columns(t.keys))
	}
}

func whatIsMeasured(s size) string {
	return fmt.Sprintf(`
What the columns are:

- publish: one producer, as fast as it can for %v or up to %s messages, until
  all are acknowledged. drain: one consumer group, from its asking to the last
  message. both at once: one producer and one group, to the last message.
- 32 clients, one at a time: each waits for its acknowledgement before it sends the
  next message. Compare only those that sync before they answer; see below.
- latency: from the time at which a message was due, at %s a second whatever the
  broker does, until the consumer has it. Of mbus that has a sync in it.
- to 10 and 100 groups: a producer and so many groups that all get everything;
  deliveries of all groups together.
- processor: user and system time of the broker's processes, for each message of
  publish (in) and drain (out), from /proc/PID/stat. memory: resident, at rest
  after the start, and the highest (VmHWM) of all that was measured. start-up: from
  the start of the process to its first accepted connection.

`, s.bulk, whole(float64(s.most)), whole(float64(s.perSecond)))
}

func (rep *report) table(w io.Writer, title string, columns []metric) {
	fmt.Fprintf(w, "## %s\n\n|", title)
	for _, m := range columns {
		fmt.Fprintf(w, " | %s, %s", m.title, m.unit)
	}
	fmt.Fprintf(w, " |\n|---|%s\n", strings.Repeat("--:|", len(columns)))
	for _, row := range rep.rowsWith(columns) {
		fmt.Fprintf(w, "| %s", row)
		for _, m := range columns {
			fmt.Fprintf(w, " | %s", rep.cell(row, m))
		}
		fmt.Fprintln(w, " |")
	}
	fmt.Fprintln(w)
}

// configured says what each system is, and when it answers.
func (rep *report) configured(w io.Writer) {
	fmt.Fprint(w, "## How each was configured\n\n")
	for _, sys := range append([]*bus.System{bus.Answerer()}, rep.systems...) {
		if len(rep.values[sys.Name]) == 0 {
			continue
		}
		fmt.Fprintf(w, "**%s**", sys.Name)
		if v := rep.versions[sys.Name]; v != "" {
			fmt.Fprintf(w, " (%s)", v)
		}
		fmt.Fprintf(w, ". At its answer a message is: %s. Broker: %s. Client: %s.\n\n", sys.Answers, sys.Config, sys.Client)
	}
	fmt.Fprintf(w, "Clients: %s.\n", strings.Join(clients(), ", "))
}

// clients are the versions of what this program speaks with.
func clients() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var list []string
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/twmb/franz-go", "github.com/nats-io/nats.go", "github.com/redis/go-redis/v9",
			"github.com/nsqio/go-nsq", "github.com/rabbitmq/amqp091-go":
			list = append(list, m.Path+" "+m.Version)
		}
	}
	return append(list, info.GoVersion)
}
