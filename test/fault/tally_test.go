package fault

import (
	"testing"

	"mbus/test/oracle"
)

// A tally is that of the oracle.
type tally oracle.Tally

func (c *tally) add(d tally) { (*oracle.Tally)(c).Add(oracle.Tally(d)) }

// mustKeep fails the test if anything was lost, is missing in between, came out
// of order or was never sent.
func (c tally) mustKeep(t testing.TB) {
	t.Helper()
	oracle.Tally(c).MustKeep(t)
}

// report adds c to the row of the test; a case may report several times.
func report(t *testing.T, c tally) {
	t.Helper()
	oracle.Report(t, oracle.Tally(c))
}

// proofHead begins the document that runs are recorded in.
const proofHead = "# Proof\n\nThe cases of `test/fault`, run long. What each does, and what it expects, stands above its test.\n" +
	"A lost message was acknowledged, and neither read back nor reported as damaged. A hole is a message\n" +
	"missing before a later one of its connection, a phantom a message that was never sent.\n" +
	"Negative controls break a promise on purpose: F04, and those named for what is seen or shown. Their losses are wanted.\n" +
	"Each run adds its table; `make promise LONG=1` runs everything.\n"
