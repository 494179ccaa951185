// Package fault tries to prove mbus's promises wrong: it kills the broker, cuts
// the power under it, damages its files, fails its system calls and feeds its
// ports with garbage, and counts what is lost. Each case is a test, TestF01… to
// TestF53…, brief in "make test" and as long as -long has it in "make promise
// LONG=1". Where a check could be blind, a negative control breaks the promise
// on purpose and demands that the check turns red.
package fault

import (
	"flag"
	"testing"

	"mbus/test/brokertest"
	"mbus/test/oracle"
)

var (
	long       = flag.Bool("long", false, "run each case to the figures of a long run instead of briefly")
	recordFile = flag.String("record", "", "add the table of this run, as Markdown, to this file")
)

func TestMain(m *testing.M) {
	flag.Parse()
	brokertest.Main(m, func(code int) int { return oracle.Finish(code, *recordFile, proofHead) })
}

// runs is how often a case does its work: brief or, with -long, thorough times.
func runs(brief, thorough int) int {
	if *long {
		return thorough
	}
	return brief
}
