package oracle

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Tally is what a case counted. Lost, Holes, Duplicates, Reordered and Phantoms
// are what must not be, unless the case says otherwise.
type Tally struct {
	Runs       int // faults injected: kills, cuts, crash states, mutations
	Acked      int // messages acknowledged
	Read       int // messages read back
	Lost       int // acknowledged, and neither read nor reported as damaged
	Holes      int // not read, although a later one of the same connection was
	Duplicates int // read more often than once
	Reordered  int // read after a later one of the same publisher
	Phantoms   int // read, and never sent like this
}

// Add counts d, too.
func (c *Tally) Add(d Tally) {
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
	rows map[string]*Tally
}

var tallies = table{rows: make(map[string]*Tally)}

// Report adds c to the row of the test; a case may report several times.
func Report(t *testing.T, c Tally) {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "/")
	ReportAs(name, c)
}

// ReportAs adds c to the row of a name.
func ReportAs(name string, c Tally) {
	tallies.mu.Lock()
	defer tallies.mu.Unlock()
	row := tallies.rows[name]
	if row == nil {
		row = new(Tally)
		tallies.rows[name] = row
	}
	row.Add(c)
}

// MustKeep fails the test if anything was lost, is missing in between, came out
// of order or was never sent.
func (c Tally) MustKeep(t testing.TB) {
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

// Finish prints what the cases counted, and adds it to a file, if one is named, which it begins with head. It gives the exit code.
func Finish(code int, file, head string) int {
	if table := tallies.String(); table != "" && testing.Verbose() {
		fmt.Print("\n", table)
	}
	if file == "" {
		return code
	}
	if err := addRecord(file, head, record(code == 0)); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		return 1
	}
	return code
}

func addRecord(file, head, text string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		text = head + text
	}
	_, err = f.WriteString(text)
	return err
}
