// Own measures a real broker process over real sockets and files, and in the
// same run the machine it runs on, and prints one table: each figure with the
// limit of the machine beside it. It asserts nothing; its exit code is 1 only
// if something could not be measured.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"mbus/bench/machine"
)

// config says how much is measured. Sizes are in bytes.
type config struct {
	broker string // the program
	rounds int

	diskBytes  int
	relayBytes int
	lines      int // messages of a bulk row with 100 bytes each
	backlog    int // messages of the long row
	syncPairs  int // write-and-sync pairs for the latency
	seconds    int // of each row that publishes one message at a time
	topics     int
}

func main() {
	machine.BeRelay()
	build := flag.String("build", "build", "`DIR` with the three programs")
	dir := flag.String("dir", "", "`DIR` to write under; the default is beside the programs, so on the same disk")
	rounds := flag.Int("rounds", 3, "the table has the medians of `N` rounds")
	quick := flag.Bool("quick", false, "less of everything, and one round: a look, not a measurement")
	flag.Parse()
	if err := run(*build, *dir, *rounds, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "own:", err)
		os.Exit(1)
	}
}

func run(build, dir string, rounds int, quick bool) error {
	if dir == "" {
		dir = build
	}
	c := config{
		broker: filepath.Join(build, "broker"), rounds: rounds,
		diskBytes: 1 << 30, relayBytes: 4 << 30, lines: 3_000_000, backlog: 10_000_000,
		syncPairs: 500, seconds: 3, topics: 1000,
	}
	if quick {
		c.rounds, c.seconds, c.syncPairs = 1, 1, 100
		c.diskBytes, c.relayBytes, c.lines, c.backlog = c.diskBytes/8, c.relayBytes/8, 500_000, 2_000_000
	}
	var t table
	for i := range c.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, c.rounds)
		if err := c.round(&t, dir); err != nil {
			return err
		}
	}
	for _, name := range []string{"broker", "producer", "consumer"} {
		info, err := os.Stat(filepath.Join(build, name))
		if err != nil {
			return err
		}
		t.number("size of "+name, "MB", float64(info.Size())/1e6)
	}
	t.print(os.Stdout)
	printFigures(os.Stdout, &t)
	return nil
}
