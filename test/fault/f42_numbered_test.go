package fault

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/test/brokertest"
)

// Injected: kill -9 of the broker, again and again, while the program producer publishes
// lines that come in bursts. Expected: it connects again each time and ends with 0, and
// each line is in the topic once; in a topic with one partition in order.
func TestF42ProducerOverKills(t *testing.T) {
	for _, partitions := range []string{"1", "3"} {
		t.Run(partitions, func(t *testing.T) {
			b := brokertest.Start(t, t.TempDir(), append(fixedPort(t), "-partitions", partitions)...)
			report(t, publishOver(t, b, runs(5, 50), func() { b.Restart() }))
		})
	}
}

// Injected: power cuts instead.
func TestF42ProducerOverPowerCuts(t *testing.T) {
	d := newLoopDisk(t, 64<<20)
	b := brokertest.Start(t, filepath.Join(d.dir, "data"), fixedPort(t)...)
	report(t, publishOver(t, b, runs(3, 30), func() {
		d.powerCut(t, b)
		b.Restart()
	}))
}

// fixedPort has a broker listen where it did before.
func fixedPort(t *testing.T) []string {
	return []string{"-pport", brokertest.Port(brokertest.Reserve(t))}
}

// publishOver publishes lines, with so many ends of the broker meanwhile, and judges what
// is in the topic.
func publishOver(t *testing.T, b *brokertest.Broker, ends int, end func()) (c tally) {
	t.Helper()
	random := rand.New(rand.NewPCG(seeds(t), 42))
	producer := exec.Command(brokertest.Program(t, "producer"), "-topic", "lines", "-port", brokertest.Port(b.Producers()))
	var said bytes.Buffer
	producer.Stderr = &said
	stdin, err := producer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := producer.Start(); err != nil {
		t.Fatal(err)
	}
	defer producer.Process.Kill()
	const burst = 500
	var written atomic.Int64
	ended := make(chan struct{}, ends)
	go feed(stdin, int64(ends+1), burst, &written, ended)
	eventually(t, "the producer has begun", func() bool {
		text, err := b.Read("lines?from=beginning&n=1")
		return err == nil && strings.HasPrefix(text, "line 0\n")
	})
	for i := range ends {
		at := int64(i)*4*burst + random.Int64N(4*burst)
		eventually(t, "the lines are read", func() bool { return written.Load() >= at })
		end()
		ended <- struct{}{}
	}
	if err := producer.Wait(); err != nil {
		t.Errorf("producer: %v, %s", err, said.String())
	}
	if got := strings.Count(said.String(), "connected again"); got < 1 {
		t.Errorf("it has connected again %d times:\n%s", got, said.String())
	}
	c = judgeLines(t, b.Drain("lines?from=beginning"), int64(ends+1)*4*burst)
	c.Runs = ends
	return c
}

// feed writes numbered lines, in so many parts of four bursts each. Before the next part it
// waits until the broker has ended once more.
func feed(w io.WriteCloser, parts, burst int64, written *atomic.Int64, ended <-chan struct{}) {
	defer w.Close()
	for n := int64(0); n < 4*parts*burst; n += burst {
		if n > 0 && n%(4*burst) == 0 {
			<-ended
		}
		var text strings.Builder
		for i := n; i < n+burst; i++ {
			fmt.Fprintf(&text, "line %d\n", i)
		}
		if _, err := io.WriteString(w, text.String()); err != nil {
			return
		}
		written.Add(burst)
	}
}

// judgeLines wants each line once.
func judgeLines(t *testing.T, text string, lines int64) (c tally) {
	t.Helper()
	times := make([]int, lines)
	var order []int64
	for line := range strings.Lines(text) {
		n := int64(-1)
		if _, err := fmt.Sscanf(line, "line %d", &n); err != nil || n < 0 || n >= lines {
			t.Fatalf("%q is in the topic", line)
		}
		times[n]++
		order = append(order, n)
	}
	c.Acked = int(lines)
	for n, got := range times {
		switch {
		case got == 0:
			c.Lost++
			t.Errorf("line %d is lost", n)
		case got > 1:
			c.Duplicates++
			t.Errorf("line %d is there %d times", n, got)
		default:
			c.Read++
		}
	}
	if !strings.Contains(t.Name(), "/3") && !slices.IsSorted(order) {
		t.Error("the lines are not in order")
	}
	return c
}
