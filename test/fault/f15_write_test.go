package fault

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// Injected: writes to one topic's file fail, or write nothing, from some moment
// on; or are cut short in the middle of a batch, by a bound on the size of files.
// Expected: publishers get an error, what was acknowledged and nothing else is
// read before and after a restart, other topics go on.
func TestF15FailedAndShortWrites(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		fail   func(t *testing.T, b *brokertest.Broker) (stop func())
	}{
		"failed":       {"-FAILED ", failWrites("pwrite64:error=EIO")},
		"nothing":      {"-FAILED ", failWrites("pwrite64:retval=0")},
		"over-quota":   {"-FULL ", failWrites("pwrite64:error=EDQUOT")},
		"too-long":     {"-FAILED ", limitFiles},
		"not-to-index": {"", failIndex},
	} {
		t.Run(name, func(t *testing.T) {
			for range runs(1, 20) {
				b := brokertest.Start(t, t.TempDir())
				l := newLedger("sick")
				publishTo(l, b, 4, 2000)
				f := follow(t, b, "sick")
				stop := c.fail(t, b)
				if c.answer == "" {
					publishTo(l, b, 4, 2000)
				} else {
					answer := l.publish(b.Producers(), "late", rand.New(rand.NewPCG(2, 0)), nil, func(int) {})
					if !strings.HasPrefix(answer, c.answer) {
						t.Errorf("answered %q, not %s", answer, c.answer)
					}
				}
				b.Publish("well", "another topic goes on")
				stop()
				judgeBoth(t, b, l, f)
			}
		})
	}
}

// judgeBoth judges before and after a restart, and that publishing goes on then.
func judgeBoth(t *testing.T, b *brokertest.Broker, l *ledger, f *follower) {
	t.Helper()
	l.judge(lines(b.Drain("sick?from=beginning"))).mustKeep(t)
	b.Restart()
	publishTo(l, b, 1, 10)
	read := lines(b.Drain("sick?from=beginning"))
	c := l.judge(read)
	report(t, c)
	c.mustKeep(t)
	l.mustAnswer(t, b)
	if n := f.vanished(read); n > 0 || c.Duplicates > 0 {
		t.Errorf("%d messages that were shown have vanished, %d come twice", n, c.Duplicates)
	}
}

func failWrites(what string) func(*testing.T, *brokertest.Broker) func() {
	return failWritesOf("sick", what)
}

func failWritesOf(topic, what string) func(*testing.T, *brokertest.Broker) func() {
	return func(t *testing.T, b *brokertest.Broker) func() {
		i := inject(t, b.Pid(), what, segment(b.Data, topic))
		return func() {
			if len(i.stop()) == 0 {
				t.Error("no write has failed")
			}
		}
	}
}

// failIndex fails writes of the index, which can be built again: nobody notices.
func failIndex(t *testing.T, b *brokertest.Broker) func() {
	i := inject(t, b.Pid(), "pwrite64:error=EIO", strings.TrimSuffix(segment(b.Data, "sick"), ".log")+".index")
	return func() {
		if len(i.stop()) == 0 {
			t.Error("no write of the index has failed")
		}
	}
}

// limitFiles has the system cut writes short that would make a file longer than
// 2 MiB and some bytes.
func limitFiles(t *testing.T, b *brokertest.Broker) func() {
	t.Helper()
	out, err := exec.Command("prlimit", "--pid", fmt.Sprint(b.Pid()), "--fsize=2097169:unlimited").CombinedOutput()
	if err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
	return func() {}
}
