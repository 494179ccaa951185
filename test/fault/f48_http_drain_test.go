package fault

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Injected: kill -9 of curl while it drains a topic, each time at another moment before it has read
// everything; and kill -9 of the broker in between. Expected: nothing is consumed, so that the next drain
// begins with the first message. A drain that is read to its end consumes all.
func TestF48KilledHTTPDrainConsumesNothing(t *testing.T) {
	brokertest.NeedTools(t, "curl")
	const (
		size   = 12 << 20
		unread = 256 << 10 // more than curl and its pipe hold
	)
	b := brokertest.Start(t, t.TempDir(), fixedHTTP(t)...)
	random := rand.New(rand.NewPCG(seeds(t), 48))
	fillTopic(t, b, "load", size)
	url := "http://" + b.HTTP() + "/topics/load/messages?group=g"
	whole := b.Drain("load?from=beginning")
	kills := runs(6, 300)
	for i := range kills {
		n := size - unread // the broker has written everything: its confirmation alone tells
		if i > 0 {
			n = 1 + random.IntN(size-unread)
		}
		if got := killedDrain(t, url, n); got != whole[:n] {
			t.Fatalf("kill %d: the %d bytes are not those from the beginning on", i, n)
		}
		if i%3 == 2 {
			b.Restart()
		}
		eventually(t, "the broker has seen the end of curl", func() bool {
			text := b.Drain("?groups&format=json&group=g")
			return strings.HasPrefix(text, "-GONE") || strings.Contains(text, `"members":0,`)
		})
	}
	text, err := exec.Command("curl", "-sS", "--fail", url).Output()
	if err != nil {
		t.Fatal(err)
	}
	c := tally{Runs: kills, Acked: strings.Count(whole, "\n"), Read: strings.Count(string(text), "\n")}
	c.Lost = max(0, c.Acked-c.Read)
	report(t, c)
	if string(text) != whole {
		t.Errorf("the drain behind the kills has %s, not %s", brief(string(text)), brief(whole))
	}
	if again := b.Drain("load?group=g"); again != "" {
		t.Errorf("what was read to its end comes again: %s", brief(again))
	}
}

// killedDrain reads n bytes of what curl gets, and kills it.
func killedDrain(t *testing.T, url string, n int) string {
	t.Helper()
	curl := exec.Command("curl", "-sSN", url)
	out, err := curl.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := curl.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { curl.Process.Kill() }).Stop()
	text := make([]byte, n)
	_, err = io.ReadFull(bufio.NewReaderSize(out, 16), text) // and hardly more
	if err := errors.Join(err, curl.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = curl.Wait() // it was killed
	return string(text)
}
