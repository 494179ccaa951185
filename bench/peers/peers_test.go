package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

// program is mbus's broker, built for the tests.
var program string

func TestMain(m *testing.M) {
	machine.BeRelay()
	bus.BeAnswerer()
	dir, err := os.MkdirTemp("", "mbus-peers-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "broker")
	build := exec.Command("go", "build", "-o", program, "./cmd/broker")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// tiny is enough to see that everything is measured.
var tiny = size{
	bulk: 20 * time.Millisecond, most: 20_000, perSecond: 500, latency: 100 * time.Millisecond,
	singly: 20 * time.Millisecond, clients: 4, groups: [2]int{2, 5}, rest: time.Millisecond,
	diskBytes: 1 << 20, relayBytes: 1 << 20, syncs: 3,
}

func newReport() *report {
	return &report{results: newResults(), size: tiny, rounds: 1, began: time.Now(), versions: make(map[string]string)}
}

func TestEveryWayOfSpeakingToMbusIsMeasuredInEveryRespect(t *testing.T) {
	rep := newReport()
	rep.find(bus.All(program, t.TempDir()), options{systems: "mbus"})
	if len(rep.systems) != 3 {
		t.Fatalf("%d systems", len(rep.systems))
	}
	if err := rep.measure(t.TempDir(), true); err != nil {
		t.Fatal(err)
	}
	for _, n := range rep.notes {
		t.Error(n)
	}
	for _, sys := range rep.systems {
		for _, m := range metrics {
			// Processor times are measured in hundredths of a second.
			if v, ok := rep.median(sys.Name, m.key); !ok || v <= 0 && m.key != "in" && m.key != "out" {
				t.Errorf("%s: %s is %v", sys.Name, m.title, v)
			}
		}
	}
	for row, key := range map[string]string{
		rowBatches: "publish", rowOne: "publish", answererName: "publish", rowRelay: "stream", rowSynced: "p99",
	} {
		if v, ok := rep.median(row, key); !ok || v <= 0 {
			t.Errorf("%s: %s is %v", row, key, v)
		}
	}
	rep.add(rep.systems[0].Name, "in", 0.1) // so quick a run may take no hundredth at all, and a chart has values
	checkDocument(t, rep)
}

func TestDocumentOfABusyMachineSaysSo(t *testing.T) {
	for load, said := range map[float64]bool{0.2: false, 9: true} {
		rep := newReport()
		rep.load = load
		var doc strings.Builder
		rep.markdown(&doc)
		if got := strings.Contains(doc.String(), "was not quiet"); got != said {
			t.Errorf("a load of %v is said: %v", load, got)
		}
	}
}

func TestInterruptedRunIsWrittenWithWhatThereIs(t *testing.T) {
	rep := newReport()
	rep.add("mbus", "publish", 1)
	rep.systems = []*bus.System{{Name: "later"}} // its Start would panic
	rep.interrupted.Store(true)
	if err := rep.measure(t.TempDir(), true); err != nil || len(rep.notes) != 1 {
		t.Errorf("%v, notes %q", err, rep.notes)
	}
}

func checkDocument(t *testing.T, rep *report) {
	dir := t.TempDir()
	if err := rep.write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "BENCHMARKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{machine.Describe(), "written and synced", "github.com/twmb/franz-go v", rep.versions["mbus"], "Left out of this run: klite, "}
	for _, p := range pictures {
		if _, err := os.Stat(filepath.Join(dir, p.file)); err != nil {
			t.Error(err)
		}
		wanted = append(wanted, "("+p.file+")")
	}
	for _, row := range rep.rows() {
		wanted = append(wanted, "| "+row+" |")
	}
	for _, want := range wanted {
		if want == "" || !strings.Contains(string(text), want) {
			t.Errorf("no %q in the document", want)
		}
	}
}

func TestBrokerThatIsNotThereIsSaid(t *testing.T) {
	rep := newReport()
	gone := &bus.System{Name: "gone", Version: func() (string, error) { return "", errors.New("no such program") }}
	rep.find([]*bus.System{gone}, options{})
	if len(rep.systems) != 0 || len(rep.notes) != 1 || !strings.Contains(rep.notes[0], "gone is not here: no such program") {
		t.Errorf("%d systems, notes %q", len(rep.systems), rep.notes)
	}
}

func TestBrokerThatDoesNotStartIsSaidAndTheOthersAreMeasured(t *testing.T) {
	rep := newReport()
	broken := &bus.System{Name: "broken", Start: func(string) (*bus.Process, error) { return nil, errors.New("no room") }}
	rep.systems = []*bus.System{broken, bus.Answerer()}
	if err := rep.measure(t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	if len(rep.notes) != 1 || !strings.Contains(rep.notes[0], "broken: no room") {
		t.Errorf("notes %q", rep.notes)
	}
	if _, ok := rep.median(answererName, "publish"); !ok {
		t.Error("the other one was not measured")
	}
}
