package programs

import (
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// The command takes its consumer with it, as the system does when memory is short: with
// the third consumer that dies of it the message goes to the dead letters, and the others
// are done once each.
func TestAMessageThatKillsConsumersGoesToTheDeadLetters(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("jobs", "first", "bad", "second")
	const command = `read m; echo "$MBUS_MSG_ATTEMPT $m"; [ "$m" != bad ] || kill -9 $PPID`
	var said strings.Builder
	killed := 0
	for runs := 0; killed < 3 || !strings.Contains(said.String(), "second"); runs++ {
		if runs > 1000 || killed > 3 {
			t.Fatalf("it goes on for ever:\n%s", said.String())
		}
		r := consume(t, b, "-topic", "jobs", "-n", "1", "-attempts", "3", "-retry", "10ms", "-exec", command)
		if said.WriteString(r.stdout); r.code != 0 {
			killed++
		}
	}
	for _, line := range []string{"1 first\n", "1 bad\n", "2 bad\n", "3 bad\n", "1 second\n"} {
		if strings.Count(said.String(), line) != 1 {
			t.Errorf("%q is not there once:\n%s", line, said.String())
		}
	}
	awaitMessages(t, b, "jobs.dlq", 1)
	if got := b.Drain("jobs.dlq?from=beginning"); got != "bad\n" {
		t.Errorf("the dead letters are %q", got)
	}
}
