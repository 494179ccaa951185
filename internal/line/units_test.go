package line_test

import (
	"fmt"
	"strings"
	"testing"
)

// One way to write durations and times: in options as in the programs' flags.
func TestDurationsAndTimesOfOptions(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	for i, option := range []string{"ack-timeout=7d", "ack-timeout=1d12h", "ack-timeout=1.5h", "retry=1d", "retry=500ms"} {
		b.dial(b.consumers, fmt.Sprintf("orders?ack&group=g%d&%s\n", i, option)).mustSay("first")
	}
	for _, option := range []string{"ack-timeout=30", "ack-timeout=0", "retry=-1s", "retry=soon", "retry=999999d", "ack-timeout=1h2d"} {
		b.dial(b.consumers, "orders?ack&"+option+"\n").mustRefuse("BADREQUEST", "it takes a duration")
	}
	for _, option := range []string{"delay=5", "delay=0", "delay=-1s", "delay=7days"} {
		b.dial(b.producers, "orders?"+option+"\n").mustRefuse("BADREQUEST", "it takes a duration")
	}
	for _, option := range []string{"retention=30", "retention=1us", "retention-bytes=10X", "retention-bytes=-1"} {
		b.dial(b.consumers, "?create&topic=new&"+option+"\n").mustRefuse("BADREQUEST", "it takes")
	}
	b.mustDrain("?create&topic=new&retention=1d12h&retention-bytes=10GB", "topic\tpartitions\tsettings\nnew\t1\tretention.bytes=10000000000 retention.ms=129600000\n# nothing has been changed: add execute to do it\n")
	for _, option := range []string{"at=tomorrow", "at=10:00", "at=-5", "at=2030-02-30", "at=1893456000"} {
		b.dial(b.producers, "orders?"+option+"\n").mustRefuse("BADREQUEST", "it takes")
	}
}

// Times without a zone are UTC here: the broker does not know that of its clients. A
// blank may be sent as it is, or as %20.
func TestTimesWithoutZoneAreUTC(t *testing.T) {
	b := start(t, setup{})
	b.produce("orders?format=json\n" + `{"payload":"before","ts":1718017199999}` + "\n" + `{"payload":"after","ts":1718017200000}` + "\n") // 11:00 UTC
	for _, from := range []string{
		"2024-06-10 11:00", "2024-06-10%2011:00:00", "2024-06-10T11:00", "2024-06-10T13:00:00+02:00", "2024-06-10T13%3A00%3A00%2B02%3A00", "s@1718017200000",
	} {
		b.mustDrain("orders?from="+from, "after\n")
	}
	b.mustDrain("orders?from=2024-06-10", "before\nafter\n")
	b.mustDrain("orders?from=2024-06-11", "")
	for _, at := range []string{"2000-01-01", "2000-01-01 00:00", "2000-01-01T01:00:00%2B01:00", "946684800000"} { // at once, as that has passed
		if got := b.produce("due?at=" + at + "\nmessage\n"); got != "+1\n" {
			t.Errorf("at %s: %q", at, got)
		}
	}
	if got := b.drain("due?format=json"); strings.Count(got, `"mbus-deliver-at","946684800000"`) != 4 {
		t.Errorf("drained %q", got)
	}
}
