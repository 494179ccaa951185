package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mbus/bench/machine"
	"mbus/test/brokertest"
)

// recordBytes is what a message of 100 bytes alone is in the log.
const recordBytes = 170

// A round measures every row once.
type round struct {
	config
	t    *table
	dir  string
	b    *brokertest.Process
	disk float64       // bytes a second
	sync time.Duration // of one record
	wire float64       // bytes a second through the relay
}

func (c config) round(t *table, parent string) error {
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &round{config: c, t: t, dir: dir}
	defer func() {
		if r.b != nil {
			r.b.Kill()
		}
	}()
	for _, step := range []func() error{
		r.machine, r.start, r.bulk, r.singly, r.drains, r.backlogged, r.manyTopics,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *round) machine() (err error) {
	if r.disk, err = machine.DiskRate(r.dir, r.diskBytes); err != nil {
		return err
	}
	if r.sync, err = machine.SyncTime(r.dir, recordBytes, r.syncPairs); err != nil {
		return err
	}
	if r.wire, err = machine.RelayRate(r.relayBytes); err != nil {
		return err
	}
	r.t.add("machine: write 1 MiB, fdatasync", sample{bytes: int(r.disk), took: time.Second})
	r.t.add("machine: write one record, fdatasync", sample{messages: int(time.Second / r.sync), took: time.Second})
	r.t.add(rowRelay, sample{messages: int(r.wire / 101), bytes: int(r.wire), took: time.Second})
	r.t.number("machine: write one record, fdatasync", "us", float64(r.sync.Nanoseconds())/1e3)
	return nil
}

// launch starts a broker on a directory under the round's, and makes a number
// of the time until it listens.
func (r *round) launch(data, name string) (err error) {
	r.b, err = brokertest.Launch("", r.broker, "-pport", "0", "-cport", "0", "-kport", "0", "-data", filepath.Join(r.dir, data))
	if err != nil {
		return err
	}
	r.t.number(name, "ms", float64(r.b.ReadyAfter().Microseconds())/1e3)
	return nil
}

// observe makes a number of the broker's memory.
func (r *round) observe(which, name string) error {
	mb, err := machine.Memory(r.b.Pid(), which)
	if err != nil {
		return err
	}
	r.t.number(name, "MB", mb)
	return nil
}

func (r *round) start() error {
	if err := r.launch("data", numberEmpty); err != nil {
		return err
	}
	time.Sleep(time.Second) // let it come to rest
	return r.observe("VmRSS", numberIdle)
}

// measure times f, which returns messages and bytes, as a row.
func (r *round) measure(name string, s sample, f func() (messages, bytes int, err error)) error {
	before, err := machine.ThreadTime(r.b.Pid())
	if err != nil {
		return err
	}
	begun := time.Now()
	s.messages, s.bytes, err = f()
	s.took = time.Since(begun)
	if err != nil {
		return fmt.Errorf("%s: %w; the broker said: %s", name, err, r.b.Output())
	}
	after, err := machine.ThreadTime(r.b.Pid())
	s.processor = after - before
	r.t.add(name, s)
	return err
}

func (r *round) bulk() error {
	for _, row := range []struct {
		name, topic string
		p           payload
		connections int
	}{
		{rowPublish, "lines-1", linesOf(100), 1},
		{"publish 100-byte lines, 16 producers", "lines-16", linesOf(100), 16},
		{"publish 1-KiB lines, 1 producer", "kib-1", linesOf(1024), 1},
		{"publish 1-KiB lines, 16 producers", "kib-16", linesOf(1024), 16},
		{"publish 100 bytes in batches, 1 producer", "batches-1", batchesOf(100), 1},
		{"publish 100 bytes in batches, 16 producers", "batches-16", batchesOf(100), 16},
	} {
		total := r.lines * 100 / row.p.size
		if err := r.bulkRow(row.name, row.topic, row.p, row.connections, total); err != nil {
			return err
		}
	}
	return r.observe("VmHWM", "resident memory, highest while publishing")
}

func (r *round) bulkRow(name, topic string, p payload, connections, total int) error {
	return r.measure(name, sample{limit: "disk", limitRate: r.disk}, func() (int, int, error) {
		n, err := publish(r.b.Producers(), topic, p, connections, total)
		return n, n * p.size, err
	})
}

func (r *round) singly() error {
	during := time.Duration(r.seconds) * time.Second
	for _, row := range []struct {
		name        string
		connections int
	}{{rowOne, 1}, {rowMany, 64}} {
		s := sample{limit: "syncs", limitRate: 1 / r.sync.Seconds(), byMessages: true}
		err := r.measure(row.name, s, func() (int, int, error) {
			n, err := publishSingly(r.b.Producers(), "singly-"+strconv.Itoa(row.connections), 100, row.connections, during)
			return n, n * 100, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *round) drains() error {
	messages, err := publish(r.b.Producers(), "drain", linesOf(100), 1, 1_000_000)
	if err != nil {
		return err
	}
	if err := r.drainRow(rowDrain, "drain", messages); err != nil {
		return err
	}
	s := sample{limit: "relay", limitRate: r.wire}
	return r.measure("drain the same in batches", s, func() (int, int, error) {
		n, err := drain(r.b.Consumers(), "drain?format=batch&group=batches")
		return messages, n, err
	})
}

// drainRow drains a topic that has this many messages of 100 bytes.
func (r *round) drainRow(name, topic string, messages int) error {
	return r.measure(name, sample{limit: "relay", limitRate: r.wire}, func() (int, int, error) {
		n, err := drain(r.b.Consumers(), topic)
		if err == nil && n != messages*101 {
			err = fmt.Errorf("%d bytes came, not %d", n, messages*101)
		}
		return messages, n, err
	})
}

// backlogged fills a topic, kills the broker and looks at how it comes back.
func (r *round) backlogged() error {
	p := linesOf(100)
	if err := r.bulkRow("publish the backlog, 1 producer", "backlog", p, 1, r.backlog); err != nil {
		return err
	}
	messages := r.backlog / p.count * p.count
	r.b.Kill()
	if err := r.launch("data", numberFull); err != nil {
		return err
	}
	data := filepath.Join(r.dir, "data")
	all, err := fileBytes(data, "")
	if err != nil {
		return err
	}
	ours, err := fileBytes(data, "backlog")
	if err != nil {
		return err
	}
	r.t.number("all logs at the kill -9", "MB", float64(all)/1e6)
	r.t.number("bytes on disk for a message of 100 bytes", "bytes", float64(ours)/float64(messages))
	if err := r.drainRow(rowBacklog, "backlog", messages); err != nil {
		return err
	}
	return r.observe("VmRSS", "resident memory, after the backlog")
}

// manyTopics publishes a message to each of many topics of a broker of their
// own, kills it, and looks for them.
func (r *round) manyTopics() error {
	r.b.Kill()
	if err := r.launch("topics", numberEmpty); err != nil {
		return err
	}
	if err := r.forEachTopic(func(topic string) error {
		_, err := oneByOne(r.b.Producers(), topic, 100, func(n int) bool { return n < 1 })
		return err
	}); err != nil {
		return err
	}
	r.b.Kill()
	if err := r.launch("topics", numberMany); err != nil {
		return err
	}
	if err := r.observe("VmRSS", numberRAM); err != nil {
		return err
	}
	return r.forEachTopic(func(topic string) error {
		n, err := drain(r.b.Consumers(), topic)
		if err == nil && n != 101 {
			err = fmt.Errorf("topic %q has %d bytes, not 101", topic, n)
		}
		return err
	})
}

// forEachTopic calls f for every topic, a few at once.
func (r *round) forEachTopic(f func(topic string) error) error {
	const workers = 32
	failed := make(chan error, workers)
	for w := range workers {
		go func() {
			var err error
			for i := w; i < r.topics && err == nil; i += workers {
				err = f("topic-" + strconv.Itoa(i))
			}
			failed <- err
		}()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// fileBytes is the size of all files under dir whose path has part in it.
func fileBytes(dir, part string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, part) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
