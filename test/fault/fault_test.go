// Package fault tries to prove mbus's promises wrong: it kills the broker, cuts
// the power under it, damages its files, fails its system calls and feeds its
// ports with garbage, and counts what is lost. Each case is a test, TestF01… to
// TestF53…, brief in "make test" and as long as -long has it in "make promise
// LONG=1". Where a check could be blind, a negative control breaks the promise
// on purpose and demands that the check turns red.
package fault

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"mbus/test/brokertest"
)

var (
	long       = flag.Bool("long", false, "run each case to the figures of a long run instead of briefly")
	recordFile = flag.String("record", "", "add the table of this run, as Markdown, to this file")
)

func TestMain(m *testing.M) {
	flag.Parse()
	brokertest.Main(m, finish)
}

// finish prints what the cases counted, and records it. It gives the exit code.
func finish(code int) int {
	if table := tallies.String(); table != "" && testing.Verbose() {
		fmt.Print("\n", table)
	}
	if *recordFile == "" {
		return code
	}
	if err := addRecord(record(code == 0)); err != nil {
		fmt.Fprintln(os.Stderr, "fault:", err)
		return 1
	}
	return code
}

func addRecord(text string) error {
	f, err := os.OpenFile(*recordFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		text = proofHead + text
	}
	_, err = f.WriteString(text)
	return err
}

// runs is how often a case does its work: brief or, with -long, thorough times.
func runs(brief, thorough int) int {
	if *long {
		return thorough
	}
	return brief
}
