package fault

import (
	"flag"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A tally is what a case counted. Lost, Holes, Duplicates, Reordered and Phantoms
// are what must not be, unless the case says otherwise.
type tally struct {
	Runs       int // faults injected: kills, cuts, crash states, mutations
	Acked      int // messages acknowledged
	Read       int // messages read back
	Lost       int // acknowledged, and neither read nor reported as damaged
	Holes      int // not read, although a later one of the same connection was
	Duplicates int // read more often than once
	Reordered  int // read after a later one of the same publisher
	Phantoms   int // read, and never sent like this
}

func (c *tally) add(d tally) {
	c.Runs += d.Runs
	c.Acked += d.Acked
	c.Read += d.Read
	c.Lost += d.Lost
	c.Holes += d.Holes
	c.Duplicates += d.Duplicates
	c.Reordered += d.Reordered
	c.Phantoms += d.Phantoms
}

// table is the tallies of all cases that have reported.
type table struct {
	mu   sync.Mutex
	rows map[string]*tally
}

var tallies = table{rows: make(map[string]*tally)}

// report adds c to the row of the test; a case may report several times.
func report(t *testing.T, c tally) {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "/")
	tallies.mu.Lock()
	defer tallies.mu.Unlock()
	row := tallies.rows[name]
	if row == nil {
		row = new(tally)
		tallies.rows[name] = row
	}
	row.add(c)
}

// mustKeep fails the test if anything was lost, is missing in between, came out
// of order or was never sent.
func (c tally) mustKeep(t testing.TB) {
	t.Helper()
	if c.Lost+c.Holes+c.Reordered+c.Phantoms > 0 {
		t.Errorf("%+v", c)
	}
}

// String is the table as Markdown, empty without rows.
func (s *table) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rows) == 0 {
		return ""
	}
	var names []string
	for name := range s.rows {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("| case | runs | acked | read | lost | holes | duplicates | reordered | phantoms |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, name := range names {
		r := s.rows[name]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d |\n", name,
			r.Runs, r.Acked, r.Read, r.Lost, r.Holes, r.Duplicates, r.Reordered, r.Phantoms)
	}
	return b.String()
}

// proofHead begins the document that runs are recorded in.
const proofHead = "# Proof\n\nThe cases of `test/fault`, run long. What each does, and what it expects, stands above its test.\n" +
	"A lost message was acknowledged, and neither read back nor reported as damaged. A hole is a message\n" +
	"missing before a later one of its connection, a phantom a message that was never sent.\n" +
	"Negative controls break a promise on purpose: F04, and those named for what is seen or shown. Their losses are wanted.\n" +
	"Each run adds its table; `make promise LONG=1` runs everything.\n"

// record is what a run adds to the document.
func record(passed bool) string {
	verdict := "All cases passed."
	if !passed {
		verdict = "**Cases failed.**"
	}
	selected := ""
	if f := flag.Lookup("test.run"); f != nil && f.Value.String() != "" {
		selected = fmt.Sprintf(" Only cases that match `%s`.", f.Value)
	}
	return fmt.Sprintf("\n## %s\n\nCommit %s, Linux %s, %d processors, %s. %s%s\n\n%s",
		time.Now().UTC().Format("2006-01-02 15:04"), output("git", "describe", "--tags", "--always", "--dirty"),
		output("uname", "-r"), runtime.NumCPU(), runtime.Version(), verdict, selected, tallies.String())
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
