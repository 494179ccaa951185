package programs

import (
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// The Go runtime puts /dev/null in the place of a standard output that is closed: what is
// written there must not count as consumed.
func TestNothingIsConsumedIntoAClosedOutput(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first", "second")
	shell := func(program, rest string) result {
		t.Helper()
		return run(t, nil, "/bin/sh", "-c", `exec "$0" -port "$1" `+rest, brokertest.Program(t, program), brokertest.Port(b.Consumers()))
	}
	for _, rest := range []string{"-topic orders >&-", "-topic orders -json >&-", "-topic orders -n 1 1<>/dev/null"} {
		if r := shell("consumer", rest); r.code != 1 || !strings.Contains(r.stderr, "standard output is closed") {
			t.Errorf("consumer %s: exit code %d, %q", rest, r.code, r.stderr)
		}
	}
	if r := shell("admin", "topics >&-"); r.code != 1 || !strings.Contains(r.stderr, "standard output is closed") {
		t.Errorf("admin: exit code %d, %q", r.code, r.stderr)
	}
	if r := shell("consumer", "-topic orders -n 1 >/dev/null"); r.code != 0 || r.stderr != "" {
		t.Errorf("what is discarded on purpose: exit code %d, %q", r.code, r.stderr)
	}
	if r := shell("admin", "create -topic bills -execute >&-"); r.code != 0 {
		t.Errorf("admin create: exit code %d, %q", r.code, r.stderr)
	}
	if r := shell("consumer", "-topic orders -exec 'cat >/dev/null' >&-"); r.code != 0 {
		t.Errorf("a command for each message: exit code %d, %q", r.code, r.stderr)
	}
	if got := b.Drain("orders"); got != "" {
		t.Errorf("left are %q", got)
	}
}

// A closed standard input is not an empty one: somebody wanted to publish something.
func TestNothingIsPublishedFromAClosedInput(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for rest, code := range map[string]int{"<&-": 1, "0<>/dev/null": 1, "</dev/null": 0, "-message x <&-": 0} {
		r := run(t, nil, "/bin/sh", "-c", `exec "$0" -topic orders -port "$1" `+rest, brokertest.Program(t, "producer"), brokertest.Port(b.Producers()))
		if said := strings.Contains(r.stderr, "standard input is closed"); r.code != code || said != (code == 1) {
			t.Errorf("producer %s: exit code %d, %q", rest, r.code, r.stderr)
		}
	}
}
