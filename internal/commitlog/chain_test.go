package commitlog_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A chain is one random story: a workload, perhaps with a fault, is cut short; so
// is the recovery from that, and the recovery from that, each time by a kill or
// a power cut.
type chain struct {
	*rand.Rand
	story string // what has happened so far
	disk  *crashfs.FS
}

// Combinations that the other crash tests leave out because of their time. A seed
// tells the same story each time, but where a workload has several goroutines.
func TestAnyChainOfCrashesLosesNothingAcknowledged(t *testing.T) {
	brokertest.Slow(t)
	for seed := range 600 * uint64(*cycles) {
		c := &chain{Rand: rand.New(rand.NewPCG(seed, 2)), disk: crashfs.New()}
		ps := c.work()
		for range c.IntN(4) {
			c.crash()
			c.recover()
		}
		c.crash()
		if err := ps.checkDisk(c.disk); err != nil {
			t.Errorf("seed %d: %s: %v", seed, c.story, err)
		}
	}
}

func (c *chain) tell(format string, args ...any) { c.story += fmt.Sprintf(format, args...) }

// work runs a workload with a fault from some call on, or none, until it is cut.
func (c *chain) work() *promises {
	w, f := workloads[c.IntN(len(workloads))], faults[c.IntN(len(faults))]
	cut, failing := int64(1+c.IntN(120)), int64(1+c.IntN(120))
	c.tell("%s, %s at call %d, cut before call %d", w.name, f.name, failing, cut)
	var calls atomic.Int64
	c.disk.SetHook(func(call crashfs.Call) error {
		switch i := calls.Add(1); {
		case i >= cut:
			c.disk.Kill()
			return crashfs.ErrDead
		case i >= failing:
			return f.err(i-failing, call)
		}
		return nil
	})
	ps := newPromises()
	client, err := w.client(c.disk, ps, f.heal)
	if err == nil {
		client.stubborn = failing < cut
		_ = w.run(client)
		client.Close() // no answer comes after this
	}
	return ps
}

// crash gives the disk to the next process.
func (c *chain) crash() {
	if c.IntN(2) == 0 {
		c.tell(", killed")
		c.disk = c.disk.KillClone()
		return
	}
	seed := c.Uint64()
	list := []crashfs.Policy{crashfs.Nothing(), crashfs.Some(seed), crashfs.Torn(seed), crashfs.Torn(seed)}
	p := list[c.IntN(len(list))]
	c.tell(", power cut (%s)", p.Name)
	c.disk = c.disk.Crash(p)
}

// recover opens the store until it dies.
func (c *chain) recover() {
	n := int64(1 + c.IntN(40))
	c.tell(", recovery cut before call %d", n)
	killAt(c.disk, n)
	if s, err := openDisk(c.disk, journalBytes); err == nil {
		s.Close()
	}
}
