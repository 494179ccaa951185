package kafka

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "write the table of KAFKA.md")

const document = "../../KAFKA.md"

// table is the part of KAFKA.md that is made from the registry.
func table() string {
	var b strings.Builder
	b.WriteString("| key | request | versions | |\n|---|---|---|---|\n")
	for _, key := range slices.Sorted(maps.Keys(apis)) {
		a := apis[key]
		fmt.Fprintf(&b, "| %d | %s | %d to %d | %s |\n", key, kmsg.NameForKey(key), a.min, a.max, a.doc)
	}
	return b.String()
}

func TestTheDocumentListsEveryAPI(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "| key |")
	_, after, ok2 := strings.Cut(rest, "|\n\n")
	if !ok || !ok2 {
		t.Fatal("there is no table")
	}
	want := before + table() + "\n" + after
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("KAFKA.md lacks what the code says; run: go test ./internal/kafka -run Document -update\n%s", table())
	}
}

func TestEveryAPIIsDescribedAndKnownToTheEncoding(t *testing.T) {
	for key, a := range apis {
		req := kmsg.RequestForKey(key)
		if req == nil || a.max > req.MaxVersion() || a.min > a.max || a.min < 0 {
			t.Errorf("API key %d: versions %d to %d", key, a.min, a.max)
		}
		if a.doc == "" || strings.ContainsAny(a.doc, "|\n") {
			t.Errorf("API key %d is described as %q", key, a.doc)
		}
	}
}

// needed are the smallest ranges with which every client was seen to work.
var needed = map[int16][2]int16{
	0: {0, 7}, 1: {6, 12}, 2: {1, 5}, 3: {1, 9}, 8: {2, 8}, 9: {1, 8}, 10: {0, 4}, 11: {2, 6}, 12: {0, 4}, 13: {0, 4},
	14: {0, 4}, 15: {2, 5}, 16: {1, 4}, 18: {0, 3}, 19: {2, 7}, 20: {1, 6}, 21: {1, 2}, 22: {0, 3}, 23: {2, 4},
	17: {1, 1}, 36: {0, 2}, 32: {1, 2}, 33: {1, 2}, 37: {0, 1}, 42: {1, 2}, 44: {0, 1}, 47: {0, 0}, 60: {0, 0}, 75: {0, 0},
}

func TestTheVersionsThatClientsNeedAreAnswered(t *testing.T) {
	for key, want := range needed {
		if a := apis[key]; a == nil || a.min > want[0] || a.max < want[1] {
			t.Errorf("%s: clients need versions %d to %d", kmsg.NameForKey(key), want[0], want[1])
		}
	}
}

func TestWhatIsNotBuiltIsNotAdvertised(t *testing.T) {
	for _, key := range []int16{24, 25, 26, 28, 69, 71, 72, 76, 77, 78, 79} {
		if apis[key] != nil {
			t.Errorf("%s is registered", kmsg.NameForKey(key))
		}
	}
}
