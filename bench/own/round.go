package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mbus/bench/load"
	"mbus/bench/machine"
	"mbus/test/brokertest"
)

// recordBytes is what a message of 100 bytes alone is in the log.
const recordBytes = 170

// A round measures rows, each in its step, with those of the machine that they
// are compared with right before them.
type round struct {
	size
	*table
	broker string // the program
	dir    string
	b      *brokertest.Process // the one that runs, or nil
	synced float64             // records a second that the disk syncs one by one
}

func newRound(s size, t *table, broker string) *round {
	return &round{size: s, table: t, broker: broker}
}

// A step is a part of a round that the flag -only can name.
type step struct {
	name string
	do   func() error
}

// run makes the steps that are wanted, all if none is named, over a directory of its own.
func (r *round) run(parent string, steps func(*round) []step, only []string) error {
	dir, err := os.MkdirTemp(parent, "round-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.dir = dir
	defer r.kill()
	for _, s := range steps(r) {
		if s.name != "" && len(only) > 0 && !slices.Contains(only, s.name) {
			continue
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

// everyRound are the steps whose rows are medians of the rounds.
func (r *round) everyRound() []step {
	return []step{
		{"", r.start},
		{"bulk", r.bulk},
		{"latency", r.latencies},
		{"singly", r.singly},
		{"drain", r.drains},
		{"fan-out", r.fanOut},
		{"kafka", r.kafka},
		{"http", r.overHTTP},
		{"tls", r.overTLS},
		{"sharing", r.sharing},
	}
}

// once are the steps that take long, and compare only with themselves.
func (r *round) once() []step {
	return []step{
		{"backlogs", r.backlogs},
		{"topics", r.manyTopics},
		{"connections", r.connections},
		{"http", r.manyOverHTTP},
		{"syncs", r.countedSyncs},
		{"slow", r.slowDisk},
		{"timing", r.timing},
	}
}

// kill ends the broker, and before it what that has started: it may be strace that
// runs the broker.
func (r *round) kill() {
	if r.b == nil {
		return
	}
	for _, pid := range machine.Family(r.b.Pid())[1:] {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	r.b.Kill()
	r.b = nil
}

// launch starts a broker, instead of the one that runs, on a directory under the
// round's, and makes a number of the time until it listens.
func (r *round) launch(data, name string, flags ...string) error {
	if err := r.launchBy(nil, filepath.Join(r.dir, data), flags...); err != nil {
		return err
	}
	r.number(name, "ms", float64(r.b.ReadyAfter().Microseconds())/1e3)
	return nil
}

// hasHTTP says whether a broker has a port for HTTP: older ones are measured, too.
func hasHTTP(broker string) bool {
	help, err := exec.Command(broker, "-help").CombinedOutput()
	return err == nil && bytes.Contains(help, []byte("-hport"))
}

// launchBy starts a broker by a command that runs what is behind it, if there is one.
func (r *round) launchBy(command []string, data string, flags ...string) (err error) {
	r.kill()
	command = append(command, r.broker, "-pport", "0", "-cport", "0", "-kport", "0", "-data", data)
	if hasHTTP(r.broker) {
		command = append(command, "-hport", "0")
	}
	command = append(command, flags...)
	r.b, err = brokertest.Launch("", command[0], command[1:]...)
	return err
}

// observe makes a number of the broker's memory.
func (r *round) observe(which, name string) error {
	mb, err := machine.Memory(r.b.Pid(), which)
	if err != nil {
		return err
	}
	r.number(name, "MB", mb)
	return nil
}

func (r *round) start() error {
	if err := r.launch("data", numberEmpty); err != nil {
		return err
	}
	time.Sleep(r.rest) // let it come to rest
	return r.observe("VmRSS", numberIdle)
}

// A server is a process whose work is measured.
type server struct {
	pid  int
	said func() string
}

func (r *round) ours() server { return server{r.b.Pid(), r.b.Output} }

// spends gives the processor time that the server needs while f runs.
func (s server) spends(f func() error) (time.Duration, error) {
	before, err := machine.ThreadTime(s.pid)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, fmt.Errorf("%w; the server said: %s", err, s.said())
	}
	after, err := machine.ThreadTime(s.pid)
	return after - before, err
}

// measure times f, which returns messages and bytes, as a row.
func (r *round) measure(name string, of server, s sample, f func() (messages, bytes int, err error)) (err error) {
	s.processor, err = of.spends(func() (err error) {
		begun := time.Now()
		s.messages, s.bytes, err = f()
		s.took = time.Since(begun)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.add(name, s)
	return nil
}

// forEach calls f with the numbers below n, a few at once.
func forEach(n int, f func(i int) error) error {
	return load.AtOnce(n, 32, f)
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
