package fault

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// syncDelay is how long each sync takes that is made slow.
const syncDelay = 300 * time.Millisecond

// Injected: each fdatasync of a topic's file begins 300 ms late. Expected: no
// message is acknowledged or shown before a sync that began after it was sent
// has ended, and 50 publishers share one: 50 messages that come while one is
// under way need at most two more.
// Where the machine was too slow for all to come meanwhile, it is tried again.
func TestF19SlowSyncIsWaitedForAndShared(t *testing.T) {
	for range runs(1, 50) {
		shared := false
		for attempts := 0; !shared; attempts++ {
			o := slowSync(t, brokertest.StartProgram(t, brokertest.Variant(t, allFdatasync), t.TempDir()))
			if shared = o.syncs <= 3; !shared && attempts == 10 || o.early > 0 {
				t.Fatalf("%+v", o)
			}
			report(t, o.tally)
			o.mustKeep(t)
		}
	}
}

// The negative controls: some of so many messages are seen to come early.
func TestF19SlowSyncIsNoticedWhenNotWaitedFor(t *testing.T) {
	for name, c := range map[string]brokertest.Change{"shown": shownBeforeTheSync, "acknowledged": acknowledgedEarly} {
		t.Run(name, func(t *testing.T) {
			const attempts = 100
			for range attempts {
				if o := slowSync(t, brokertest.StartProgram(t, brokertest.Variant(t, c), t.TempDir())); o.early > 0 {
					return
				}
			}
			t.Errorf("%d times %v pass before anything is shown or acknowledged", attempts, syncDelay)
		})
	}
}

// A slowness is what came of slow syncs.
type slowness struct {
	tally
	early int // acknowledged or shown before a sync could have ended
	syncs int // for all messages together
}

func slowSync(t *testing.T, b *brokertest.Broker) (o slowness) {
	t.Helper()
	const publishers = 50
	l := newLedger("slow")
	publishTo(l, b, 1, 1)
	f := follow(t, b, "slow")
	await(t, "the follower is there", func() bool { return len(f.sights()) > 0 })
	slow := inject(t, b.Pid(), fmt.Sprintf("fdatasync:delay_enter=%d", syncDelay.Microseconds()), segment(b.Data, "slow"))
	sent := make(map[string]time.Time)
	var mu sync.Mutex
	var publishing sync.WaitGroup
	var conns []net.Conn
	for range publishers + 1 {
		conns = append(conns, brokertest.Dial(t, b.Producers(), "slow\n"))
	}
	for i, conn := range conns {
		n := l.send(fmt.Sprintf("one%d", i), -1)
		text := l.message(fmt.Sprintf("one%d", i), n, 60)
		sent[text] = time.Now()
		if _, err := fmt.Fprintf(conn, "%s\n", text); err != nil {
			t.Fatal(err)
		}
		begun := sent[text]
		publishing.Go(func() {
			answer, err := bufio.NewReader(conn).ReadString('\n')
			mu.Lock()
			defer mu.Unlock()
			if err != nil || answer != "+1\n" {
				t.Errorf("answered %q: %v", answer, err)
				return
			}
			l.acknowledge(fmt.Sprintf("one%d", i), n)
			if time.Since(begun) < syncDelay {
				o.early++
			}
		})
	}
	publishing.Wait()
	o.syncs = len(slow.stop())
	var read []string
	await(t, "the follower has seen all", func() bool {
		read = lines(b.Drain("slow?from=beginning"))
		return len(f.sights()) >= len(read)
	})
	for _, s := range f.sights() {
		if at, ok := sent[s.text]; ok && s.at.Sub(at) < syncDelay {
			o.early++
		}
	}
	o.tally = l.judge(read)
	return o
}
