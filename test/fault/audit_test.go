package fault

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/test/brokertest"
)

// An audit is what a new group gets of a topic, from its first message to its end, in as
// many drains as it takes: each offset must come, or be reported.
type audit struct {
	texts    []string // in the order in which they came
	reported int64    // offsets that -GAP or -DAMAGED told of
	unheard  []string // offsets that neither came nor were reported, and errors
	next     map[int]int64
}

// audits numbers the groups, each of which is new.
var audits atomic.Int64

// auditTopic reads a topic as a new group, which it deletes at the end.
func auditTopic(b *brokertest.Broker, topic string) *audit {
	a := &audit{next: make(map[int]int64)}
	group := fmt.Sprint("audit-", audits.Add(1))
	for {
		answer := b.Drain(topic + "?format=json&group=" + group)
		if answer == "" || !a.take(answer) {
			break
		}
	}
	b.Drain("?delete&execute&group=" + group)
	return a
}

var (
	gapLine     = regexp.MustCompile(`^-GAP first=(\d+) partition=(\d+)`)
	damagedLine = regexp.MustCompile(`^-DAMAGED \S+/(\d+): offsets (\d+) to (\d+) can't be read`)
)

// take takes the answer to a drain, and reports whether there may be more.
func (a *audit) take(answer string) bool {
	for line := range strings.Lines(answer) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "-") {
			a.message(line)
			continue
		}
		if m := gapLine.FindStringSubmatch(line); m != nil {
			next, partition := number(m[1]), int(number(m[2]))
			a.lost(partition, a.next[partition], next)
			continue
		}
		if m := damagedLine.FindStringSubmatch(line); m != nil {
			a.lost(int(number(m[1])), number(m[2]), number(m[3])+1)
			continue
		}
		a.unheard = append(a.unheard, line)
		return false
	}
	return true
}

// message takes a message in JSON.
func (a *audit) message(line string) {
	var m struct {
		Partition int
		Offset    int64
		Payload   string
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		a.unheard = append(a.unheard, line)
		return
	}
	a.reach(m.Partition, m.Offset)
	a.next[m.Partition] = m.Offset + 1
	a.texts = append(a.texts, m.Payload)
}

// lost notes offsets that were reported.
func (a *audit) lost(partition int, first, next int64) {
	first = max(first, a.next[partition])
	a.reach(partition, first)
	a.reported += max(0, next-first)
	a.next[partition] = max(a.next[partition], next)
}

// reach notes what has been passed over without a word.
func (a *audit) reach(partition int, offset int64) {
	if next := a.next[partition]; next < offset {
		a.unheard = append(a.unheard, fmt.Sprintf("partition %d: offsets %d to %d", partition, next, offset-1))
	}
}

func number(digits string) int64 {
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

// audit compares what a new group gets of the ledger's topic with what was acknowledged:
// each of these must come, or its offset be reported, and no offset may be missing
// without a word. What is reported is not counted as lost.
func (l *ledger) audit(b *brokertest.Broker) (c tally, unheard []string) {
	a := auditTopic(b, l.topic)
	c = l.judge(a.texts)
	c.Lost = max(0, c.Lost-int(a.reported))
	c.Holes = max(0, c.Holes-int(a.reported))
	return c, a.unheard
}

// mustAnswer fails the test if the audit of a topic shows a loss.
func (l *ledger) mustAnswer(t *testing.T, b *brokertest.Broker) {
	t.Helper()
	c, unheard := l.audit(b)
	if c.Lost+c.Holes+c.Reordered+c.Phantoms > 0 || len(unheard) > 0 {
		t.Errorf("what a new group gets of topic %q: %+v; without a word: %q", l.topic, c, unheard)
	}
}

// The audit must not be blind itself.
func TestAuditSeesWhatIsPassedOverInSilence(t *testing.T) {
	message := func(offset int) string {
		return fmt.Sprintf(`{"topic":"t","partition":0,"offset":%d,"payload":"m%d"}`+"\n", offset, offset)
	}
	for name, c := range map[string]struct {
		answers  []string
		reported int64
		unheard  []string
	}{
		"whole":         {[]string{message(0) + message(1), message(2)}, 0, nil},
		"a hole":        {[]string{message(0) + message(3)}, 0, []string{"partition 0: offsets 1 to 2"}},
		"a late start":  {[]string{message(4)}, 0, []string{"partition 0: offsets 0 to 3"}},
		"a gap told":    {[]string{message(0) + "-GAP first=3 partition=0\n", message(3)}, 2, nil},
		"damage told":   {[]string{message(0) + "-DAMAGED t/0: offsets 1 to 4 can't be read\n", message(5)}, 4, nil},
		"less told":     {[]string{message(0) + "-DAMAGED t/0: offsets 1 to 2 can't be read\n", message(5)}, 2, []string{"partition 0: offsets 3 to 4"}},
		"told too late": {[]string{message(0) + "-DAMAGED t/0: offsets 3 to 4 can't be read\n", message(5)}, 2, []string{"partition 0: offsets 1 to 2"}},
		"an error":      {[]string{message(0) + "-FAILED no\n"}, 0, []string{"-FAILED no"}},
	} {
		a := &audit{next: make(map[int]int64)}
		for _, answer := range c.answers {
			a.take(answer)
		}
		if a.reported != c.reported || !slices.Equal(a.unheard, c.unheard) {
			t.Errorf("%s: %d reported, %q not heard of; want %d, %q", name, a.reported, a.unheard, c.reported, c.unheard)
		}
	}
}
