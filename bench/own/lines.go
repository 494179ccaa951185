package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mbus/bench/bus"
	"mbus/bench/load"
	"mbus/bench/machine"
	"mbus/bench/measure"
)

// bulk publishes as fast as the broker takes it.
func (r *round) bulk() error {
	disk, err := r.disk()
	if err != nil {
		return err
	}
	for _, row := range []struct {
		name, topic string
		p           payload
		connections int
		total       int
	}{
		{rowKib, "kib-1", linesOf(1024), 1, r.kibs},
		{rowPublish, "lines-1", linesOf(100), 1, r.lines},
		{"publish 100-byte lines, 16 producers", "lines-16", linesOf(100), 16, r.lines},
		{"publish 1-KiB lines, 16 producers", "kib-16", linesOf(1024), 16, r.kibs},
		{"publish 100 bytes in batches, 1 producer", "batches-1", batchesOf(100), 1, r.lines},
		{"publish 100 bytes in batches, 16 producers", "batches-16", batchesOf(100), 16, r.lines},
	} {
		s := sample{limit: "disk", limitRate: disk}
		if err := r.publishRow(row.name, row.topic, s, row.p, row.connections, row.total); err != nil {
			return err
		}
	}
	if err := r.inLog(); err != nil {
		return err
	}
	return r.observe("VmHWM", "resident memory, highest while publishing")
}

// disk measures what the disk takes, in bytes a second, and what this program takes of a
// processor for it, as if there were messages of 100 bytes.
func (r *round) disk() (rate float64, err error) {
	before, err := machine.ThreadTime(os.Getpid())
	if err != nil {
		return 0, err
	}
	rate, err = machine.DiskRate(r.dir, r.diskBytes)
	if err != nil {
		return 0, err
	}
	after, err := machine.ThreadTime(os.Getpid())
	took := float64(r.diskBytes) / rate * float64(time.Second)
	r.add(rowDisk, sample{messages: r.diskBytes / 100, bytes: r.diskBytes, took: time.Duration(took), processor: after - before})
	return rate, err
}

func (r *round) publishRow(name, topic string, s sample, p payload, connections, total int) error {
	return r.measure(name, r.ours(), s, func() (int, int, error) {
		n, err := publish(r.b.Producers(), topic, p, connections, total)
		return n, n * p.size, err
	})
}

// inLog compares what the messages of the row rowKib are in the log with what
// they were alone.
func (r *round) inLog() error {
	lines, err := drain(r.b.Consumers(), "kib-1?from=beginning")
	if err != nil {
		return err
	}
	stored, err := drain(r.b.Consumers(), "kib-1?from=beginning&format=batch")
	r.number(numberInLog, "times", float64(stored)/float64(lines/1025*1024))
	return err
}

// latencies sends at a fixed rate through a relay, through one that syncs, and
// through the broker. What the last two do is compared with one sync and one
// relay.
func (r *round) latencies() error {
	syncs, err := machine.SyncTimes(r.dir, recordBytes, r.syncs)
	if err != nil {
		return err
	}
	r.synced = 1 / measure.Mean(syncs).Seconds()
	r.add("machine: write one record, fdatasync", sample{messages: int(r.synced), took: time.Second})
	p50, p99 := r.percentiles(latencySync, syncs)
	plain, err := bus.Relay("")
	if err != nil {
		return err
	}
	defer plain.Close()
	syncing, err := bus.Relay(filepath.Join(r.dir, "relayed"))
	if err != nil {
		return err
	}
	defer syncing.Close()
	for _, way := range []struct {
		name string
		b    bus.Bus
	}{
		{latencyRelay, plain}, {latencySynced, syncing}, {latencyOurs, bus.OpenLines(r.b.Producers(), r.b.Consumers())},
	} {
		list, err := load.Latencies(way.b, "latency", "readers", r.perSecond, r.latency)
		if err != nil {
			return fmt.Errorf("latency, %s: %w", way.name, err)
		}
		a, b := r.percentiles(way.name, list)
		if way.name == latencyRelay {
			p50, p99 = p50+a, p99+b
			continue
		}
		r.number(ratioName("p50", way.name), "times", a/p50)
		r.number(ratioName("p99", way.name), "times", b/p99)
	}
	return nil
}

// percentiles makes numbers of latencies, and gives two of them in milliseconds.
func (r *round) percentiles(name string, list []time.Duration) (p50, p99 float64) {
	p50 = float64(measure.Percentile(list, 0.5).Nanoseconds()) / 1e6
	p99 = float64(measure.Percentile(list, 0.99).Nanoseconds()) / 1e6
	r.number(latencyName("p50", name), "ms", p50)
	r.number(latencyName("p99", name), "ms", p99)
	return p50, p99
}

// floor measures the server that only reads lines, syncs and answers.
func (r *round) floor() error {
	file := filepath.Join(r.dir, "floor")
	defer os.Remove(file)
	f, err := machine.StartFloor(file)
	if err != nil {
		return err
	}
	defer f.Stop()
	return r.singlyRow(rowFloor, server{f.Pid(), func() string { return "" }}, f.Address, manyConnections)
}

// manyConnections publish one message at a time each.
const manyConnections = 64

// singly publishes one message at a time.
func (r *round) singly() error {
	if err := r.floor(); err != nil {
		return err
	}
	if err := r.singlyRow(rowOne, r.ours(), r.b.Producers(), 1); err != nil {
		return err
	}
	return r.singlyRow(rowMany, r.ours(), r.b.Producers(), manyConnections)
}

func (r *round) singlyRow(name string, of server, address string, connections int) error {
	s := sample{limit: "syncs", limitRate: r.synced, byMessages: true}
	return r.measure(name, of, s, func() (int, int, error) {
		n, err := publishSingly(address, "singly-"+strconv.Itoa(connections), 100, connections, r.size.singly)
		return n, n * 100, err
	})
}

// drains reads the stored messages, as lines and in batches.
func (r *round) drains() error {
	messages, err := publish(r.b.Producers(), "drain", linesOf(100), 1, r.drained)
	if err != nil {
		return err
	}
	wire, err := machine.RelayRate(r.relayBytes)
	if err != nil {
		return err
	}
	r.add(rowRelay, sample{messages: int(wire / 101), bytes: int(wire), took: time.Second})
	s := sample{limit: "relay", limitRate: wire}
	if err := r.drainRow(rowDrain, "drain", s, messages); err != nil {
		return err
	}
	return r.measure(rowDrainBatches, r.ours(), s, func() (int, int, error) {
		n, err := drain(r.b.Consumers(), "drain?format=batch&group=batches")
		return messages, n, err
	})
}

// drainRow drains a topic that has this many messages of 100 bytes.
func (r *round) drainRow(name, request string, s sample, messages int) error {
	return r.measure(name, r.ours(), s, func() (int, int, error) {
		n, err := drain(r.b.Consumers(), request)
		if err == nil && n != messages*101 {
			err = fmt.Errorf("%d bytes came, not %d", n, messages*101)
		}
		return messages, n, err
	})
}

// fanOut publishes to a topic that many groups follow.
func (r *round) fanOut() error {
	overKafka, err := bus.OpenKafka(r.b.Kafka())
	if err != nil {
		return err
	}
	defer overKafka.Close()
	for _, way := range []struct {
		name, topic string
		b           bus.Bus
	}{
		{rowFanOut, "fanout-lines", bus.OpenLines(r.b.Producers(), r.b.Consumers())},
		{rowFanOutKafka, "fanout-kafka", overKafka},
	} {
		groups := load.GroupNames(way.topic, r.groups)
		if err := way.b.Topic(way.topic, groups...); err != nil {
			return err
		}
		if err := r.fanOutRow(way.name, way.topic, way.b, groups); err != nil {
			return err
		}
	}
	return nil
}

// fanOutRow counts deliveries from the first message on: the groups' joining is
// not in its rate, but in its processor time, so that is not shown.
func (r *round) fanOutRow(name, topic string, b bus.Bus, groups []string) error {
	n, took, err := load.FanOut(b, topic, groups, r.size.bulk)
	if err != nil {
		return fmt.Errorf("%s: %w; the broker said: %s", name, err, r.b.Output())
	}
	r.add(name, sample{messages: n, bytes: n * measure.Size, took: took})
	return nil
}
