package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mbus/bench/bus"
	"mbus/bench/load"
	"mbus/bench/machine"
	"mbus/bench/measure"
)

// A size says how much is measured.
type size struct {
	bulk      time.Duration // of publishing, of streaming, of each fan-out
	most      int           // messages that are published at most before they are drained
	perSecond int           // messages a second while latency is measured
	latency   time.Duration
	singly    time.Duration
	clients   int
	groups    [2]int        // of the fan-outs
	rest      time.Duration // before the memory of an idle broker is looked at

	diskBytes, relayBytes, syncs int
}

var (
	full = size{
		bulk: 2 * time.Second, most: 5_000_000, perSecond: 2000, latency: 5 * time.Second,
		singly: 2 * time.Second, clients: 32, groups: [2]int{10, 100}, rest: time.Second,
		diskBytes: 512 << 20, relayBytes: 2 << 30, syncs: 2000,
	}
	quick = size{
		bulk: 300 * time.Millisecond, most: 500_000, perSecond: 1000, latency: time.Second,
		singly: 300 * time.Millisecond, clients: 32, groups: [2]int{10, 100}, rest: 100 * time.Millisecond,
		diskBytes: 64 << 20, relayBytes: 256 << 20, syncs: 200,
	}
)

// A trial measures one system in one round.
type trial struct {
	size
	*results
	name string
	b    bus.Bus
	pids []int
}

// try runs a broker and makes every measurement that it is fit for. What fails
// is noted and leaves a gap.
func try(s size, r *results, sys *bus.System, parent string) error {
	dir, err := os.MkdirTemp(parent, "peer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := sys.Start(dir)
	if err != nil {
		return err
	}
	defer p.Stop()
	r.add(sys.Name, "startup", float64(p.StartUp.Microseconds())/1e3)
	b, err := sys.Open(p)
	if err != nil {
		return err
	}
	defer b.Close()
	t := &trial{size: s, results: r, name: sys.Name, b: b, pids: p.Pids()}
	time.Sleep(s.rest)
	if err := t.memory("idle", "VmRSS"); err != nil {
		return err
	}
	for _, step := range t.steps() {
		if why := sys.Unfit(step.name); why != "" {
			if sys.Name != answererName {
				r.note("%s: %s: not measured: %s", sys.Name, step.name, why)
			}
			continue
		}
		name := sys.Name + ": " + step.name
		if r.failed[name] {
			continue // it would take as long again
		}
		if err := step.do(); err != nil {
			r.fail(name, err)
		}
	}
	return t.memory("peak", "VmHWM")
}

type step struct {
	name string
	do   func() error
}

func (t *trial) steps() []step {
	return []step{
		{"publish", t.publish},
		{"stream", t.stream},
		{"latency", t.latency},
		{"singly", t.singly},
		{"fanout10", func() error { return t.fanOut("fanout10", t.groups[0]) }},
		{"fanout100", func() error { return t.fanOut("fanout100", t.groups[1]) }},
	}
}

// memory adds up what the broker's processes have.
func (t *trial) memory(key, which string) error {
	var sum float64
	for i, pid := range t.pids {
		mb, err := machine.Memory(pid, which)
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue // a helper that is gone
		}
		if err != nil {
			return err
		}
		sum += mb
	}
	t.add(t.name, key, sum)
	return nil
}

// processor adds what the broker needs of a processor for each of the messages
// that f deals with.
func (t *trial) processor(key string, f func() (int, error)) error {
	before, err := machine.ProcessorTime(t.pids)
	if err != nil {
		return err
	}
	n, err := f()
	if err != nil {
		return err
	}
	after, err := machine.ProcessorTime(t.pids)
	if err == nil {
		t.add(t.name, key, float64((after-before).Nanoseconds())/1e3/float64(n))
	}
	return err
}

// publish fills a topic, then drains it.
func (t *trial) publish() error {
	if err := t.b.Topic("bulk", "readers"); err != nil {
		return err
	}
	n := 0
	err := t.processor("in", func() (int, error) {
		sent, took, err := load.Publish(t.b, "bulk", t.bulk, t.most)
		if err == nil {
			t.rate(t.name, "publish", sent, took)
		}
		n = sent
		return sent, err
	})
	if err != nil || t.name == answererName {
		return err
	}
	return t.processor("out", func() (int, error) {
		took, err := load.Drain(t.b, "bulk", "readers", n)
		if err == nil {
			t.rate(t.name, "drain", n, took)
		}
		return n, err
	})
}

func (t *trial) stream() error {
	if err := t.b.Topic("stream", "readers"); err != nil {
		return err
	}
	n, took, err := load.Stream(t.b, "stream", "readers", t.bulk)
	if err == nil {
		t.rate(t.name, "stream", n, took)
	}
	return err
}

func (t *trial) latency() error {
	if err := t.b.Topic("latency", "readers"); err != nil {
		return err
	}
	list, err := load.Latencies(t.b, "latency", "readers", t.perSecond, t.size.latency)
	if err != nil {
		return err
	}
	t.percentiles(t.name, list)
	return nil
}

func (t *trial) singly() error {
	if err := t.b.Topic("singly", "readers"); err != nil {
		return err
	}
	clients, err := load.Connect(t.b, t.clients, func(int) string { return "singly" })
	if err != nil {
		return err
	}
	defer clients.Close()
	list, took, err := clients.Singly(t.size.singly)
	if err == nil {
		t.rate(t.name, "singly", len(list), took)
	}
	return err
}

func (t *trial) fanOut(key string, n int) error {
	groups := load.GroupNames(key, n)
	if err := t.b.Topic(key, groups...); err != nil {
		return err
	}
	deliveries, took, err := load.FanOut(t.b, key, groups, t.bulk)
	if err == nil {
		t.rate(t.name, key, deliveries, took)
	}
	return err
}

// Names of the rows that the machine has.
const (
	rowBatches = "machine: write 1 MiB, fdatasync"
	rowOne     = "machine: write one message, fdatasync"
	rowRelay   = "machine: relay"
	rowSynced  = "machine: relay that syncs"
)

var machineRows = []string{rowBatches, rowOne, rowRelay, rowSynced, answererName}

var answererName = bus.Answerer().Name

// limits measures the machine.
func limits(s size, r *results, parent string) error {
	dir, err := os.MkdirTemp(parent, "machine-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rate, err := machine.DiskRate(dir, s.diskBytes)
	if err != nil {
		return err
	}
	r.add(rowBatches, "publish", rate/measure.Size)
	times, err := machine.SyncTimes(dir, measure.Size, s.syncs)
	if err != nil {
		return err
	}
	r.add(rowOne, "publish", 1/measure.Mean(times).Seconds())
	r.percentiles(rowOne, times)
	rate, err = machine.RelayRate(s.relayBytes)
	if err != nil {
		return err
	}
	r.add(rowRelay, "stream", rate/(measure.Size+1))
	err = errors.Join(relayed(s, r, rowRelay, ""), relayed(s, r, rowSynced, filepath.Join(dir, "relayed")))
	return errors.Join(err, try(s, r, bus.Answerer(), parent))
}

// relayed measures the latency through a relay.
func relayed(s size, r *results, name, file string) error {
	b, err := bus.Relay(file)
	if err != nil {
		return err
	}
	defer b.Close()
	t := &trial{size: s, results: r, name: name, b: b}
	return t.latency()
}
