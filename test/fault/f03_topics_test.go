package fault

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A market is publishers that each have a topic of their own, over the lives of a broker. They mostly
// publish a message at a time, so that their topics share the rounds of the journal.
type market struct {
	t       *testing.T
	b       *brokertest.Broker
	random  *rand.Rand
	ledgers []*ledger
}

func newMarket(t *testing.T, b *brokertest.Broker, topics int) *market {
	m := &market{t: t, b: b, random: rand.New(rand.NewPCG(seeds(t), 0))}
	for i := range topics {
		m.ledgers = append(m.ledgers, newLedger(fmt.Sprintf("stall%d", i)))
	}
	return m
}

// live has all publish until so many messages have been acknowledged, and calls end, which is to end
// the broker.
func (m *market) live(acks int, end func()) {
	m.t.Helper()
	var working sync.WaitGroup
	stop := make(chan struct{})
	reached := newMeter(acks)
	address := m.b.Producers()
	for _, l := range m.ledgers {
		r := rand.New(rand.NewPCG(m.random.Uint64(), 0))
		working.Go(func() { l.publishFew(address, r, stop, reached.count) })
	}
	select {
	case <-reached.reached:
	case <-m.b.Ended():
		m.t.Errorf("the broker has ended by itself: %s", m.b.Output())
	case <-time.After(time.Minute):
		m.t.Errorf("the publishers get too few acknowledgements: %s", m.b.Output())
	}
	end()
	close(stop)
	working.Wait()
}

// publishFew publishes a few messages at a time, now and then many, and awaits that they are
// acknowledged, until stop is closed or the broker is gone.
func (l *ledger) publishFew(address string, r *rand.Rand, stop <-chan struct{}, counted func(n int)) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute)) // where that fails, so does reading
	answers := bufio.NewReader(conn)
	_, err = io.WriteString(conn, l.topic+"\n")
	first, sent, acked := -1, 0, 0
	for err == nil {
		select {
		case <-stop:
			return
		default:
		}
		burst := 1 + r.IntN(2)
		if r.IntN(30) == 0 {
			burst = 300
		}
		var text strings.Builder
		for range burst {
			n := l.send("p", first)
			if first < 0 {
				first = n
			}
			text.WriteString(l.message("p", n, n*7919%400) + "\n")
			sent++
		}
		_, err = io.WriteString(conn, text.String())
		for err == nil && acked < sent {
			var line string
			line, err = answers.ReadString('\n')
			n, ok := count(strings.TrimSuffix(line, "\n"))
			if err != nil || !ok {
				return
			}
			for ; acked < n; acked++ {
				l.acknowledge("p", first+acked)
				counted(1)
			}
		}
	}
}

// check reads everything back, and compares it with all promises made so far.
func (m *market) check() (sum tally) {
	m.t.Helper()
	for _, l := range m.ledgers {
		c := l.judge(lines(m.b.Drain(l.topic + "?from=beginning")))
		if c.Lost+c.Holes+c.Duplicates+c.Reordered+c.Phantoms > 0 {
			m.t.Errorf("topic %s: %+v", l.topic, c)
		}
		sum.add(c)
	}
	sum.Runs = 0
	return sum
}

// Injected: power cuts under load of many topics, whose small writes share a journal; some of them
// right after a kill, or after a kill while the broker starts. The journal is small, so that it is used again often; with
// segments as they are, and small ones. Expected: whatever was acknowledged is there, once and in
// order, after each.
func TestF03PowerCutUnderLoadOfManyTopics(t *testing.T) {
	for _, program := range []string{"", brokertest.Variant(t, smallSegments)} {
		for i := range runs(1, 13) {
			d := newLoopDisk(t, diskBytes)
			size := []string{"1MiB", "8MiB"}[i%2]
			b := brokertest.StartProgram(t, program, filepath.Join(d.dir, "data"), "-journal", size)
			m := newMarket(t, b, 24)
			var sum tally
			for range runs(2, 8) {
				sum.Runs++
				m.live(500+m.random.IntN(5000), func() { m.end(d) })
				m.b.Restart()
				m.check()
			}
			sum.add(m.check())
			m.b.Stop()
			report(t, sum)
		}
	}
}

// end kills the broker or not, starts it or not, and cuts the power.
func (m *market) end(d *loopDisk) {
	m.t.Helper()
	for m.random.IntN(3) == 0 {
		m.b.Kill()
		m.b.Begin()
		time.Sleep(time.Duration(m.random.IntN(int(30 * time.Millisecond)))) // a moment of its start
	}
	d.powerCut(m.t, m.b)
}

// Injected: kill -9 under the same load. Expected: the same.
func TestF01KilledUnderLoadOfManyTopics(t *testing.T) {
	for i := range runs(1, 10) {
		b := brokertest.Start(t, t.TempDir(), "-journal", []string{"1MiB", "8MiB"}[i%2])
		m := newMarket(t, b, 24)
		var sum tally
		for range runs(3, 20) {
			sum.Runs++
			m.live(1+m.random.IntN(8000), m.b.Kill)
			m.b.Restart()
		}
		sum.add(m.check())
		m.b.Stop()
		report(t, sum)
	}
}

// The negative control: a broker that does not sync its journal must be seen.
func TestF04PowerCutWithAJournalThatIsNotSyncedIsSeen(t *testing.T) {
	program := brokertest.Variant(t, brokertest.Change{
		File: "internal/commitlog/roundfile.go", Old: "	return f.file.Sync()\n", New: "	return nil\n",
	})
	for range 20 {
		d := newLoopDisk(t, diskBytes)
		b := brokertest.StartProgram(t, program, filepath.Join(d.dir, "data"), "-journal", "1MiB")
		m := newMarket(t, b, 24)
		m.live(2000, func() { d.powerCut(t, b) })
		b.Use("")
		b.Restart()
		var sum tally
		for _, l := range m.ledgers {
			sum.add(l.judge(lines(b.Drain(l.topic + "?from=beginning"))))
		}
		b.Kill()
		if sum.Runs = 1; sum.Lost > 0 {
			report(t, sum)
			return
		}
	}
	t.Error("20 power cuts, and the harness has seen no loss")
}
