package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mbus/bench/machine"
	"mbus/bench/measure"
)

// A report is everything that is said about a run.
type report struct {
	table
	size    size
	quick   bool
	rounds  int
	began   time.Time
	took    time.Duration
	load    float64 // of the machine before the run, as an average number of tasks
	version string  // what the broker calls itself
}

func whole(n int) string { return measure.Thousands(float64(n)) }

// print writes everything for a terminal.
func (rep *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s; %s; medians of %d rounds, %v in all\n\n", rep.version, machine.Describe(), rep.rounds, rep.took.Round(time.Second))
	for _, f := range figures(&rep.table) {
		fmt.Fprintf(w, "%-70s %16s  %-14s %s\n", f.name, f.value(), f.target(), f.verdict())
		if f.machine != "" {
			fmt.Fprintf(w, "    the machine: %s\n", f.machine)
		}
	}
	fmt.Fprintf(w, "\n%-60s", "")
	for _, title := range columns {
		fmt.Fprintf(w, " %20s", title)
	}
	fmt.Fprintln(w)
	for _, r := range rep.rows {
		fmt.Fprintf(w, "%-60s", r.name)
		for _, cell := range r.cells() {
			fmt.Fprintf(w, " %20s", cell)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for _, n := range rep.numbers {
		fmt.Fprintf(w, "%-60s %12s %s\n", n.name, digits(median(n.values)), n.unit)
	}
}

// write makes FIGURES.md in dir.
func (rep *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var doc strings.Builder
	rep.markdown(&doc)
	return os.WriteFile(filepath.Join(dir, "FIGURES.md"), []byte(doc.String()), 0o666)
}

func (rep *report) markdown(w io.Writer) {
	fmt.Fprintf(w, `# Figures

Written by `+"`make bench`"+` on %s, in %v: what mbus (%s) is to reach,
and beside it the limit of the machine, %s.

Medians of %d rounds; where the machine has a row it was measured in the same round,
right before. The broker is a process of its own, with defaults: it syncs before it
answers. Load and consumers are one other process, which shares the processor with the
broker. Messages have 100 bytes where nothing else is said. One topic, one partition,
one node, loopback. How mbus stands beside other brokers is in
[BENCHMARKS.md](BENCHMARKS.md).

- The load average was %.1f when the run began.
`, rep.began.Format("2 January 2006"), rep.took.Round(time.Second), rep.version, machine.Describe(), rep.rounds, rep.load)
	if rep.load >= machine.Busy {
		fmt.Fprintln(w, "- **The machine was not quiet**: these figures are no measurement.")
	}
	if rep.quick {
		fmt.Fprintln(w, "- **This was a look with `-quick`**: less of everything, no measurement.")
	}
	rep.figures(w)
	fmt.Fprint(w, rep.whatIsMeasured())
	rep.everything(w)
}

func (rep *report) figures(w io.Writer) {
	fmt.Fprint(w, "\n## Figures\n\n| | measured | to be | | the machine |\n|---|--:|---|---|---|\n")
	for _, f := range figures(&rep.table) {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", f.name, f.value(), f.target(), f.verdict(), f.machine)
	}
}

func (rep *report) whatIsMeasured() string {
	return fmt.Sprintf(`
What the figures are:

- the disk's rate: a file written in pieces of 1 MiB with fdatasync after each, in bytes a
  second; mbus is compared with the bytes of its messages alone. the relay's rate: a
  process that passes on what it receives, in bytes a second.
- Kafka client: franz-go, configured as in BENCHMARKS.md. Processor time is the
  broker's, user and system. A server that only answers takes produce requests apart
  and throws them away; one that only sends answers fetches with sendfile from a file of
  the batches that mbus has, and knows no groups. What they need is the least that a
  server in Go needs here, and their rates are what the client manages. What is written
  and synced takes the processor besides, as in the disk's row: counted as if that were
  messages of 100 bytes.
- latency: at %s messages a second whatever the broker does, from the time at which a
  message was due until a consumer has it, which acknowledges; lines. One sync is a record
  of %d bytes written and synced, %s times; the sum has its p50 and the relay's,
  or both p99. A relay that syncs does both before it passes a message on.
- one at a time, at %d a second each: clients of their own connections that wait for each
  acknowledgement, without a pause, or each at that rate whatever the broker does; the
  latency is then counted from when a message was due. Kafka clients are franz-go's. A server
  that only reads, syncs and answers is one of Go's net package that writes the lines of all
  connections into one file and syncs that for all who wait.
- syncs: calls of fdatasync, fsync and io_submit that strace sees; it makes the broker
  slower, so that more messages share a sync.%s
- a disk of %d syncs a second: a loop device, whose writes of the broker's control group
  the kernel limits; a sync takes two.%s
- Backlogs, many topics and idle connections are measured once, after the rounds, without
  a row of the machine: a ratio says what the larger number adds. Memory for each topic is what the broker has after it was killed and started, without
  what it has over an empty directory.
- fan-out: one producer and so many groups that each get everything; deliveries of all
  groups together.
- over HTTP: one request with a body of NDJSON, and keep-alive connections that publish one
  message a request, beside the same as lines in the same round. Followers of events have
  a group each, and have got %d messages each when the broker's memory is looked at. Metrics
  and the page are those of a broker with so many topics, each with a group; the page's first
  view is its document and what that loads, without a browser's own time. A scrape each second
  takes as much of a processor as one scrape takes of a second.
- over TLS: the same client and an empty broker with a certificate, at the same ports without
  TLS and over it, in the same round. The client decrypts or encrypts what the broker does, on
  the same processors: the ratio has both sides' work, the processor time the broker's alone.
  Package tls alone: two goroutines of one process, of which one sends and the other one reads.
- wrong user against wrong password: %s tries of each, in turns whose order is drawn by lot, and
  Welch's t of their times; below 3 nobody can tell them apart. A password is checked in this
  program by the function that AUTH of lines, Basic of HTTP and PLAIN of Kafka call, without the
  delay that follows a failure; so is an exchange of SCRAM, both messages. The first message of
  SCRAM, which no delay follows, is sent over a socket to a broker's Kafka port, in a connection
  of its own.
`, whole(rep.size.perSecond), recordBytes, whole(rep.size.syncs), pace, notMeasured(rep.syncsNote), slowWrites/2, notMeasured(rep.slowNote), followed, whole(rep.size.tries))
}

// notMeasured is a sentence that says why something was not; empty if it was.
func notMeasured(why string) string {
	if why == "" {
		return ""
	}
	return " Not measured here: " + why + "."
}

// everything writes all rows and numbers.
func (rep *report) everything(w io.Writer) {
	fmt.Fprintf(w, "\n## All that was measured\n\n| | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("--:|", len(columns)))
	for _, r := range rep.rows {
		fmt.Fprintf(w, "| %s | %s |\n", r.name, strings.Join(r.cells(), " | "))
	}
	fmt.Fprint(w, "\n| | median | |\n|---|--:|---|\n")
	for _, n := range rep.numbers {
		fmt.Fprintf(w, "| %s | %s | %s |\n", n.name, digits(median(n.values)), n.unit)
	}
}
