package main

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

// programDir has mbus's programs, built for the tests.
var programDir string

func TestMain(m *testing.M) {
	machine.BeRelay()
	machine.BeFloor()
	bus.BeAnswerer()
	var err error
	if programDir, err = os.MkdirTemp("", "mbus-own-"); err != nil {
		panic(err)
	}
	build := exec.Command("go", "build", "-o", programDir+"/", "./cmd/...")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(programDir)
	os.Exit(code)
}

// tiny is enough to see that everything is measured.
var tiny = size{
	diskBytes: 1 << 20, relayBytes: 1 << 20, lines: 3000, kibs: 300, drained: 3000,
	syncs: 3, singly: 20 * time.Millisecond, perSecond: 500, latency: 100 * time.Millisecond,
	bulk: 20 * time.Millisecond, most: 20_000, groups: 5, rest: time.Millisecond, clients: 3, paced: 4,
	backlog: [2]int{3000, 9000}, topics: 10, followers: 5, eventFollowers: 5, metricTopics: 10, tries: 5,
}

func TestEveryFigureIsMeasuredAndWritten(t *testing.T) {
	rep := &report{size: tiny, rounds: 1, began: time.Now(), version: "broker of a test"}
	if err := rep.measure(programDir, t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := rep.write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "FIGURES.md"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{machine.Describe(), rep.version, "Medians of 1 rounds"}
	for _, f := range figures(&rep.table) {
		if math.IsNaN(f.measured) && rep.cannot(f.name) {
			continue
		}
		// What mbus adds may be less than nothing, so short a time.
		if math.IsNaN(f.measured) || math.IsInf(f.measured, 0) || f.measured == 0 || f.verdict() == "not measured" {
			t.Errorf("%s is %v", f.name, f.measured)
		}
		if strings.Contains(f.machine, "–") {
			t.Errorf("%s: the machine: %s", f.name, f.machine)
		}
		wanted = append(wanted, "| "+f.name+" | "+f.value()+" | ")
	}
	for _, r := range rep.rows {
		wanted = append(wanted, "| "+r.name+" | ")
	}
	for _, want := range wanted {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the document", want)
		}
	}
}

// cannot says whether a figure needs something that is not here.
func (rep *report) cannot(name string) bool {
	return rep.syncsNote != "" && strings.HasSuffix(name, ": syncs") ||
		rep.slowNote != "" && strings.HasPrefix(name, "a disk of ")
}

func TestFigureIsReachedAtItsBound(t *testing.T) {
	for _, c := range []struct {
		f       figure
		verdict string
		target  string
	}{
		{figure{measured: 3, bound: 3}, "reached", "at least 3"},
		{figure{measured: 2.9, bound: 3}, "NOT REACHED", "at least 3"},
		{figure{measured: 2.9, bound: 3, limit: 7}, "NOT REACHED", "at least 3"},
		{figure{measured: 2.9, bound: 3, limit: 2.95}, "NOT REACHED, nor by the machine's row", "at least 3"},
		{figure{measured: 3.1, bound: 3, limit: 2.95}, "reached", "at least 3"},
		{figure{measured: 0.15, bound: 0.15, atMost: true}, "reached", "at most 0.15"},
		{figure{measured: 0.16, bound: 0.15, atMost: true}, "NOT REACHED", "at most 0.15"},
		{figure{measured: 0.16, bound: 0.15, atMost: true, limit: 0.1}, "NOT REACHED", "at most 0.15"},
		{figure{measured: 0.3, bound: 0.15, atMost: true, limit: 0.2}, "NOT REACHED, nor by the machine's row", "at most 0.15"},
		{figure{measured: 7}, "", ""},
		{figure{measured: math.NaN(), bound: 3, atMost: true}, "not measured", "at most 3"},
		{figure{measured: math.Inf(1), bound: 3}, "not measured", "at least 3"},
	} {
		if verdict, target := c.f.verdict(), c.f.target(); verdict != c.verdict || target != c.target {
			t.Errorf("%+v: %q, %q", c.f, verdict, target)
		}
	}
}

func TestThreeDigitsAreShownAndAllBeforeThePoint(t *testing.T) {
	for v, want := range map[float64]string{
		0.04567: "0.0457", 0.8: "0.8", 3.456: "3.46", 99.96: "100", 123.4: "123", 10_000: "10000", math.NaN(): "–",
	} {
		if got := digits(v); got != want {
			t.Errorf("%v is shown as %s, not %s", v, got, want)
		}
	}
}

func TestRatiosAreOfTheRowsThatTheyName(t *testing.T) {
	var tab table
	tab.short, tab.long, tab.topicCount, tab.idle = 1000, 50_000, 10_000, 5000
	row := func(name string, rate int, processor time.Duration) {
		tab.add(name, sample{messages: rate, bytes: 100 * rate, took: time.Second, processor: processor})
	}
	row(tab.drainShort(), 1000, time.Millisecond)
	row(tab.drainLong(), 500, time.Millisecond)
	row(publishBeside(alone), 1000, time.Millisecond)
	row(publishBeside(crowd), 1000, 3*time.Millisecond)
	row(rowKafkaIn, 1000, 3*time.Millisecond)
	row(rowAnswers, 1000, time.Millisecond)
	tab.number(numberIdle, "MB", 6)
	tab.number(numberRAM, "MB", 16.24)
	for begin, want := range map[string]float64{
		"processor time a message to drain a backlog of 50,000":   2,
		"time a message to drain a backlog of 50,000, to one of ": 2,
		"processor time a message to publish beside 5,000":        3,
		"Kafka client: what mbus adds, in":                        2,
		"resident memory for each of 10,000 topics":               1,
	} {
		found := false
		for _, f := range figures(&tab) {
			if strings.HasPrefix(f.name, begin) {
				found = true
				if math.Abs(f.measured-want) > 1e-9 {
					t.Errorf("%s is %v, not %v", f.name, f.measured, want)
				}
			}
		}
		if !found {
			t.Errorf("no figure %q", begin)
		}
	}
}

func TestBacklogThatWasCutSaysSo(t *testing.T) {
	tab := table{long: 5_000_000, backlogNote: " (a tenth)"}
	if got := tab.drainLong(); got != "drain a backlog of 5,000,000 (a tenth)" {
		t.Errorf("it is called %q", got)
	}
}

func TestDocumentOfABusyMachineSaysSo(t *testing.T) {
	for load, said := range map[float64]bool{0.2: false, 9: true} {
		rep := &report{size: tiny, load: load}
		var doc strings.Builder
		rep.markdown(&doc)
		if got := strings.Contains(doc.String(), "was not quiet"); got != said {
			t.Errorf("a load of %v is said: %v", load, got)
		}
	}
}

func TestDocumentOfAQuickLookSaysSo(t *testing.T) {
	for _, isQuick := range []bool{false, true} {
		rep := &report{size: tiny, quick: isQuick}
		var doc strings.Builder
		rep.markdown(&doc)
		if got := strings.Contains(doc.String(), "with `-quick`"); got != isQuick {
			t.Errorf("a look that is quick, %v, is said: %v", isQuick, got)
		}
	}
}

func TestFigureThatWasNotMeasuredIsNoFigureReached(t *testing.T) {
	for _, f := range figures(&table{}) {
		if v := f.verdict(); v == "reached" || v == "NOT REACHED" {
			t.Errorf("of nothing, %s is %s", f.name, v)
		}
	}
}
