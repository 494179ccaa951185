package commitlog_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A chain is one random story: a workload, perhaps with a fault, is cut short; so
// is the recovery from that, and the recovery from that, each time by a kill or
// a power cut.
type chain struct {
	*rand.Rand
	batchtest.Maker
	story string // what has happened so far
	disk  *crashfs.FS
}

// A life is a store of many logs that recovers, is used at random, perhaps with a fault, and dies.
func (c *chain) life(ps *promises) (*promises, error) {
	w := workload{journal: []int64{0, journalBytes, journalBytes}[c.IntN(3)], syncEvery: []time.Duration{0, 0, time.Hour}[c.IntN(3)]}
	all := slices.Concat(faults, journalFaults)
	f := all[c.IntN(len(all))]
	cut, failing := int64(1+c.IntN(600)), int64(1+c.IntN(600))
	c.tell(", a journal of %d bytes, syncs every %v, %s at call %d, cut before call %d", w.journal, w.syncEvery, f.name, failing, cut)
	calls := c.fail(f, failing, cut)
	client, err := w.client(c.disk, ps, f.heal)
	if err != nil {
		return ps, nil
	}
	defer func() { client.Close() }() // no answer comes after this
	if calls.Load() >= min(cut, failing) {
		return ps, nil // what is visible need not be durable
	}
	_, after, err := ps.settle(client.Store)
	if errors.Is(err, crashfs.ErrDead) || err == nil && calls.Load() >= cut {
		return ps, nil
	}
	if err != nil {
		return nil, err
	}
	client.promises, client.stubborn = after, true
	for i := range 3 { // each of what follows may fail
		if name := chainTopics[i]; !client.knows(name, 0) {
			_ = client.create(name, 1+i%2)
		}
	}
	for range 5 + c.IntN(40) {
		_ = c.act(client)
	}
	if !client.ended {
		_ = client.sync()
	}
	return after, nil
}

// fail kills the process before a call, and has a fault begin at another one.
func (c *chain) fail(f fault, failing, cut int64) *atomic.Int64 {
	calls := new(atomic.Int64)
	c.disk.SetHook(func(call crashfs.Call) error {
		switch i := calls.Add(1); {
		case i >= cut:
			c.disk.Kill()
			return crashfs.ErrDead
		case i >= failing:
			return f.err(i-failing, call)
		}
		return lingers(call)
	})
	return calls
}

var chainTopics = []string{"orders", "billing", "audit", "stock"}

// act does something at random.
func (c *chain) act(client *client) error {
	name := chainTopics[c.IntN(len(chainTopics))]
	number := c.IntN(2)
	logs := client.logNames()
	switch c.IntN(20) {
	case 0:
		return client.create(name, 1+number)
	case 1:
		if client.knows(name, 0) {
			return client.delete(name)
		}
	case 2:
		if client.knows(name, 0) {
			return client.grow(name, len(client.topics[name].logs)+1)
		}
	case 3:
		if client.knows(name, number) {
			_, high, _ := client.offsets(name, number)
			return client.trim(name, number, high/2)
		}
	case 4:
		if client.knows(name, number) {
			return client.retain(name, number, store.Retention{Bytes: 2000})
		}
	case 5:
		return client.restart()
	case 6, 7:
		return client.flush(logs...)
	case 8, 9, 10:
		return client.sync()
	case 11:
		if client.knows(name, number) {
			return client.append(name, number, c.Batch(1, 70<<10))
		}
	case 12:
		if client.knows(name, number) {
			return client.look(name, number)
		}
	}
	return client.appendToAll(&c.Maker, c.IntN(300), logs...)
}

// logNames are the logs that a client knows, in order.
func (c *client) logNames() (list []logName) {
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		for i := range c.topics[name].logs {
			list = append(list, logName{name, i})
		}
	}
	return list
}

func (c *client) knows(name string, number int) bool {
	t := c.topics[name]
	return t != nil && number < len(t.logs)
}

func (c *client) offsets(name string, number int) (start, high int64, err error) {
	l, _, err := c.log(name, number)
	if err != nil {
		return 0, 0, err
	}
	start, high = l.Offsets()
	return start, high, nil
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
	c.fail(f, failing, cut)
	ps := newPromises()
	client, err := w.client(c.disk, ps, f.heal)
	if err == nil {
		client.stubborn = failing < cut
		_ = w.run(client)
		client.Close() // no answer comes after this
	}
	return ps
}

// Many logs over many lives: each begins with the recovery from the death before, by a kill or a power
// cut, and ends with another one.
func TestAnyChainOfLivesLosesNothingAcknowledged(t *testing.T) {
	brokertest.Slow(t)
	for seed := range 150 * uint64(*cycles) {
		c := &chain{Rand: rand.New(rand.NewPCG(seed, 3)), disk: crashfs.New()}
		ps, err := newPromises(), error(nil)
		for range 1 + c.IntN(6) {
			if ps, err = c.life(ps); err != nil {
				break
			}
			c.crash()
		}
		if err == nil {
			err = ps.checkDisk(c.disk)
		}
		if err != nil {
			t.Errorf("seed %d: %s: %v", seed, c.story, err)
		}
	}
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
