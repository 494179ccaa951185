package fault

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// The letters of one redrive, and how many of them are moved at once, by PROTOCOL.md.
const (
	letters     = 1000
	redriveStep = 256
)

// Injected: the broker is killed, or its power cut, in the middle of a redrive.
// Expected: no message is lost, those that were confirmed to the client come again in the group
// that failed them, none is moved twice but those of one step, and another group
// gets nothing.
func TestF37KilledInARedrive(t *testing.T) {
	d := newLoopDisk(t, diskBytes)
	b := brokertest.Start(t, filepath.Join(d.dir, "data"))
	random := rand.New(rand.NewPCG(seeds(t), 37))
	for i := range runs(2, 40) {
		r := newRedriven(t, b, "redriven-"+strconv.Itoa(i))
		told := r.redriveUntil(b, random.IntN(letters))
		if i%2 == 0 {
			b.Kill()
		} else {
			d.powerCut(t, b)
		}
		b.Restart()
		c := r.count(b, told)
		if c.Lost+c.Phantoms > 0 || c.Duplicates > redriveStep {
			t.Errorf("told of %d of %d: %+v", told, letters, c)
		}
		report(t, c)
	}
}

// The negative control: a broker that reopens messages in memory only loses those that
// it has told of.
func TestF37MessagesReopenedInMemoryAreSeenToBeLost(t *testing.T) {
	forgetful := brokertest.Variant(t, brokertest.Change{
		File: "internal/group/reopen.go",
		Old:  "	p.kept.mark()\n",
		New:  "",
	})
	b := brokertest.StartProgram(t, forgetful, filepath.Join(t.TempDir(), "data"))
	r := newRedriven(t, b, "redriven")
	told := r.redriveUntil(b, 0)
	b.Kill()
	b.Restart()
	c := r.count(b, told)
	if c.Lost < told {
		t.Errorf("the client was told of %d, and the harness has seen %d lost", told, c.Lost)
	}
	report(t, tally{Runs: 1, Lost: c.Lost})
}

// A redriven topic is one of which a group has failed every other message, and another
// group none.
type redriven struct {
	t     *testing.T
	topic string
}

func newRedriven(t *testing.T, b *brokertest.Broker, topic string) *redriven {
	t.Helper()
	r := &redriven{t, topic}
	var messages []string
	for i := range 2 * letters {
		messages = append(messages, fmt.Sprint(i))
	}
	b.Publish(topic, messages...)
	b.Drain(topic + "?group=other")
	conn := brokertest.Dial(t, b.Consumers(), topic+"?group=mine&follow&ack&attempts=1\n")
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i := range 2 * letters {
		brokertest.ReadLine(t, in)
		answer := fmt.Sprintf("-%d no\n", i+1)
		if i%2 == 0 {
			answer = fmt.Sprintf("+%d\n", i+1)
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v", rest, err)
	}
	return r
}

// redriveUntil begins a redrive, and returns how many letters it has told of when these
// are more than least.
func (r *redriven) redriveUntil(b *brokertest.Broker, least int) (told int) {
	r.t.Helper()
	in := bufio.NewReader(brokertest.Dial(r.t, b.Consumers(), r.topic+".dlq?redrive\n"))
	for told <= least && told < letters {
		line := brokertest.ReadLine(r.t, in)
		n, err := strconv.Atoi(strings.TrimPrefix(line, "+"))
		if err != nil {
			r.t.Fatalf("a redrive answers %q", line)
		}
		told = n
	}
	return told
}

// count has the group get what is open, and then the rest of the letters.
func (r *redriven) count(b *brokertest.Broker, told int) tally {
	r.t.Helper()
	c := tally{Runs: 1, Acked: told}
	open := strings.Fields(b.Drain(r.topic + "?group=mine"))
	c.Lost = max(0, told-len(open))
	b.Drain(r.topic + ".dlq?redrive")
	all := append(open, strings.Fields(b.Drain(r.topic+"?group=mine"))...)
	c.Read = len(all)
	times := make(map[string]int)
	for _, m := range all {
		if n, err := strconv.Atoi(m); err != nil || n%2 == 0 {
			c.Phantoms++
		}
		if times[m]++; times[m] > 1 {
			c.Duplicates++
		}
	}
	c.Lost += letters - len(times) + c.Phantoms
	c.Phantoms += len(strings.Fields(b.Drain(r.topic + "?group=other")))
	return c
}
