package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

func TestJournalIsMadeForProducersOfSeveralTopics(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	publishTogether(t, b, func(int) bool { return hasJournal(b) })
	b.Restart()
	for _, topic := range []string{"first", "second"} {
		if got := b.Drain(topic); !strings.HasPrefix(got, "message\n") {
			t.Errorf("after the kill, topic %q has %q", topic, got)
		}
	}
}

func TestJournalOfNoSizeIsNotMade(t *testing.T) {
	b := brokertest.Start(t, t.TempDir(), "-journal", "0")
	publishTogether(t, b, func(n int) bool { return n == 100 })
	if hasJournal(b) {
		t.Error("the data directory has a journal")
	}
}

func TestJournalOfATinyOrHugeSizeIsRefused(t *testing.T) {
	for size, shown := range map[string]string{"1000": "1kB", "2GiB": "2GiB"} {
		r := run(t, nil, brokertest.Program(t, "broker"), "-journal", size, "-data", t.TempDir())
		if r.code != 2 || !strings.HasPrefix(r.stderr, "broker: -journal is "+shown+": it takes 0, or 1MiB to 1GiB\n") {
			t.Errorf("exit code %d, standard error %q", r.code, r.stderr)
		}
	}
}

// publishTogether publishes to two topics, a message to each at the same time, until done says so.
func publishTogether(t *testing.T, b *brokertest.Broker, done func(rounds int) bool) {
	t.Helper()
	conns := []*client{newClient(t, b.Producers(), "first"), newClient(t, b.Producers(), "second")}
	for n := 0; !done(n); n++ {
		for _, c := range conns {
			c.write("message")
		}
		for _, c := range conns {
			if answer := brokertest.ReadLine(t, c.reader); answer[0] != '+' {
				t.Fatalf("the broker answered %q", answer)
			}
		}
	}
}

func hasJournal(b *brokertest.Broker) bool {
	files, _ := filepath.Glob(filepath.Join(b.Data, "journal", "*"))
	return len(files) > 0
}

// An older program opens the directory after a clean stop, and not after a crash, when it would miss what
// only the journal holds.
func TestFormatSaysWhetherTheJournalIsNeeded(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	format := func() string {
		content, err := os.ReadFile(filepath.Join(b.Data, "format"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if got := format(); got != "mbus 2\n" {
		t.Errorf("in the beginning it is %q", got)
	}
	publishTogether(t, b, func(int) bool { return format() == "mbus J\n" })
	b.Restart()
	if got := format(); got != "mbus J\n" {
		t.Errorf("after a kill it is %q", got)
	}
	b.Stop()
	if got := format(); got != "mbus 2\n" {
		t.Errorf("after a clean stop it is %q", got)
	}
}
