package fault

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// Injected: a power cut right after the first +1 of a new topic, the first
// confirmed commit of a new group, and each of the first records around the
// beginning of a new segment. Expected: it is there. The negative control runs
// the same with a sync that lies.
func TestF06PowerCutAfterTheFirst(t *testing.T) {
	program := brokertest.Variant(t, smallSegments)
	for _, c := range firsts(runs(1, 5)) {
		t.Run(c.name, func(t *testing.T) {
			if got := c.cut(t, program); got != c.want {
				t.Errorf("after the cut there is %s, not %s", brief(got), brief(c.want))
				report(t, tally{Runs: 1, Acked: 1, Lost: 1})
				return
			}
			report(t, tally{Runs: 1, Acked: 1, Read: 1})
		})
	}
}

func TestF06PowerCutAfterTheFirstIsSeenWithALyingSync(t *testing.T) {
	lying := brokertest.Traced(t, brokertest.Variant(t, smallSegments), "fdatasync,fsync:retval=0")
	for _, c := range firsts(1) {
		t.Run(c.name, func(t *testing.T) {
			const attempts = 100
			for range attempts {
				if c.cut(t, lying) != c.want {
					return
				}
			}
			t.Errorf("%d power cuts, and the harness has seen no loss", attempts)
		})
	}
}

// A first is what is done before a cut, and what must be there after it.
type first struct {
	name string
	do   func(t *testing.T, b *brokertest.Broker)
	ask  string
	want string
}

// committedFirst is what is listed of the group when it has consumed the only message.
const committedFirst = `{"group":"ashes","topic":"nest","partition":0,"position":1,"end":1,"lag":0,` +
	`"unacknowledged":0,"waiting":0,"members":0,"attempt":1,"lost":0}` + "\n"

// firsts are all of them; those around a new segment are times as many.
func firsts(times int) []first {
	list := []first{
		{"message of a new topic", publishFirst(1), "new?from=beginning", numbered(1)},
		{"commit of a new group", func(t *testing.T, b *brokertest.Broker) {
			b.Publish(phoenixSource, "an egg")
			if err := take(b.Process, phoenixSource, "an egg"); err != nil {
				t.Fatal(err)
			}
		}, "?groups&format=json&group=" + phoenixGroup, committedFirst},
	}
	for n := 3; n < 3+4*times; n++ { // a segment has room for four
		list = append(list, first{fmt.Sprintf("record %d of small segments", n), publishFirst(n), "new?from=beginning", numbered(n)})
	}
	return list
}

// publishFirst publishes the first n messages of a topic, each on its own.
func publishFirst(n int) func(*testing.T, *brokertest.Broker) {
	return func(_ *testing.T, b *brokertest.Broker) {
		for text := range strings.Lines(numbered(n)) {
			b.Publish("new", strings.TrimSuffix(text, "\n"))
		}
	}
}

// numbered are n messages of 60 KB.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "message %d %s\n", i, strings.Repeat("x", 60_000))
	}
	return b.String()
}

// cut does it, cuts the power, and lists the topics.
func (c *first) cut(t *testing.T, program string) string {
	d := newLoopDisk(t, 64<<20)
	b := brokertest.StartProgram(t, program, filepath.Join(d.dir, "data"))
	c.do(t, b)
	d.powerCut(t, b)
	b.Use("")
	b.Restart()
	defer b.Kill()
	return b.Drain(c.ask)
}

// brief is enough of a text for a message.
func brief(text string) string {
	return fmt.Sprintf("%d bytes in %d lines", len(text), strings.Count(text, "\n"))
}
