package fault

import (
	"fmt"
	"testing"

	"mbus/test/brokertest"
)

// fileCalls are the calls that change files or names, and up to which N they are
// tried: strace counts those of each thread by itself, and they have no more of
// some kinds.
var fileCalls = []struct {
	name  string // what strace calls it
	calls string
	most  int
}{
	{"pwrite", "pwrite64", 40},
	{"fdatasync", "fdatasync", 24},
	{"fsync", "fsync", 12},
	{"rename", "rename,renameat,renameat2", 4},
	{"ftruncate", "ftruncate", 4},
	{"unlink", "unlink,unlinkat", 12},
	{"openat", "openat", 60},
}

// Injected: SIGKILL at the Nth call of each kind, before it is carried out, while
// messages are published and consumed, segments begun, topics and groups made and
// deleted. Expected: nothing that was answered is undone.
func TestF02KilledAtTheNthCall(t *testing.T) {
	program := brokertest.Variant(t, smallSegments)
	for _, call := range fileCalls {
		t.Run(call.name, func(t *testing.T) {
			t.Parallel() // they wait for the disk
			c := newCrowd(t, brokertest.StartProgram(t, program, t.TempDir()), "load", seeds(t), 2, 4)
			c.mortal = true
			c.phoenix = newPhoenix(c.b)
			var sum tally
			hit := 0
			for i := range runs(2, call.most) {
				n := 1 + i
				if !*long {
					n += c.random.IntN(1 + i*call.most/4) // a sample
				}
				if c.dieAt(program, call.calls, n) {
					hit++
				}
				sum.Runs++
				c.check()
			}
			t.Logf("%d of %d were killed at a call", hit, sum.Runs)
			if hit == 0 {
				t.Errorf("the broker makes no calls of %s", call.calls)
			}
			c.report(sum)
		})
	}
}

// dieAt starts the broker to be killed at its nth call of these, lets it work and
// starts it again. It reports whether it came to that call.
func (c *crowd) dieAt(program, calls string, n int) bool {
	c.b.Kill()
	c.b.Use(brokertest.Traced(c.t, program, fmt.Sprintf("%s:signal=SIGKILL:when=%d", calls, n)))
	c.b.Begin()
	died := true
	if c.b.Ready() == nil {
		c.live(3000, func() {
			select {
			case <-c.b.Ended():
			default:
				died = false
				c.b.Kill()
			}
		})
	}
	c.b.Use(program)
	c.b.Restart()
	return died
}
