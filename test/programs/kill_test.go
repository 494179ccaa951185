package programs

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

var (
	cycles = flag.Int("cycles", 5, "how often the kill -9 loop kills the broker")
	seed   = flag.Uint64("seed", 0, "of the kill -9 loop; 0 for another one each time")
)

// A killLoop is publishers and a consumer at work on a broker that is killed
// again and again.
type killLoop struct {
	t          *testing.T
	b          *brokertest.Broker
	random     *rand.Rand
	publishers []*publisher
	consumed   map[string]int // by the group that drains under load: how often each message came
}

func TestKilledBrokerLosesNothingAcknowledged(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	l := &killLoop{
		t: t, b: brokertest.Start(t, t.TempDir()), random: rand.New(rand.NewPCG(*seed, 0)),
		consumed: make(map[string]int),
	}
	for i := range 8 {
		l.publishers = append(l.publishers, &publisher{name: fmt.Sprintf("p%d", i)})
	}
	for range *cycles {
		l.life()
		l.rebirth()
	}
	l.verify()
}

// life puts the broker under load and kills it after a random number of
// acknowledgements.
func (l *killLoop) life() {
	working, enough := l.work()
	select {
	case <-enough:
	case <-time.After(time.Minute):
		l.t.Errorf("the publishers get too few acknowledgements: %s", l.b.Output())
	}
	l.b.Kill()
	working.Wait()
}

func (l *killLoop) work() (*sync.WaitGroup, <-chan struct{}) {
	var working sync.WaitGroup
	c := newCountdown(1 + l.random.IntN(20_000))
	for _, p := range l.publishers {
		r := rand.New(rand.NewPCG(l.random.Uint64(), 0))
		address := l.b.Producers()
		working.Go(func() { p.session(address, "load", r, c.count) })
	}
	address := l.b.Consumers()
	working.Go(func() { l.consume(address) })
	return &working, c.enough
}

// rebirth starts the broker again, now and then after it was killed once more
// while it started.
func (l *killLoop) rebirth() {
	for l.random.IntN(3) == 0 {
		l.b.Begin()
		l.b.Kill()
	}
	l.b.Restart()
}

// consume drains the topic over and over, as group "under-load", until the
// broker is gone.
func (l *killLoop) consume(address string) {
	for {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, "load?group=under-load\n") // if it fails, so does reading
		lines := bufio.NewReader(conn)
		for err == nil {
			var line string
			if line, err = lines.ReadString('\n'); err == nil {
				l.consumed[strings.TrimSuffix(line, "\n")]++
			}
		}
		conn.Close()
	}
}

func (l *killLoop) verify() {
	log := l.b.Drain("load?group=verify")
	sum := check(l.t, l.publishers, log)
	l.t.Logf("%d cycles: %d acked, %d read, %d lost, %d duplicates", *cycles, sum.acked, sum.read, sum.lost, sum.duplicates)
	if sum.lost > 0 || sum.duplicates > 0 {
		l.t.Errorf("%d lost, %d duplicates", sum.lost, sum.duplicates)
	}
	l.verifyConsumer(log)
}

// verifyConsumer checks delivery at least once: every message of the log came
// to the group, and nothing else did.
func (l *killLoop) verifyConsumer(log string) {
	for line := range strings.Lines(l.b.Drain("load?group=under-load")) {
		l.consumed[strings.TrimSuffix(line, "\n")]++
	}
	lost, again, messages := 0, 0, 0
	for line := range strings.Lines(log) {
		messages++
		if times := l.consumed[strings.TrimSuffix(line, "\n")]; times == 0 {
			lost++
		} else {
			again += times - 1
		}
	}
	l.t.Logf("consumed under load: %d messages, %d lost, %d times redelivered", messages, lost, again)
	if lost > 0 || len(l.consumed) != messages {
		l.t.Errorf("the group got %d messages of %d, %d never", len(l.consumed), messages, lost)
	}
}
