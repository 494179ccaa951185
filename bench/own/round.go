package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

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

// run makes the steps over a directory of its own.
func (r *round) run(parent string, steps func(*round) []func() error) error {
	dir, err := os.MkdirTemp(parent, "round-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.dir = dir
	defer r.kill()
	for _, step := range steps(r) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// everyRound are the steps whose rows are medians of the rounds.
func (r *round) everyRound() []func() error {
	return []func() error{r.start, r.bulk, r.latencies, r.singly, r.drains, r.fanOut, r.kafka}
}

// once are the steps that take long, and compare only with themselves.
func (r *round) once() []func() error {
	return []func() error{r.backlogs, r.manyTopics, r.connections}
}

func (r *round) kill() {
	if r.b != nil {
		r.b.Kill()
		r.b = nil
	}
}

// launch starts a broker, instead of the one that runs, on a directory under the
// round's, and makes a number of the time until it listens.
func (r *round) launch(data, name string, flags ...string) (err error) {
	r.kill()
	args := []string{"-pport", "0", "-cport", "0", "-kport", "0", "-data", filepath.Join(r.dir, data)}
	if r.b, err = brokertest.Launch("", r.broker, append(args, flags...)...); err != nil {
		return err
	}
	r.number(name, "ms", float64(r.b.ReadyAfter().Microseconds())/1e3)
	return nil
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
	const workers = 32
	failed := make(chan error, workers)
	for w := range workers {
		go func() {
			var err error
			for i := w; i < n && err == nil; i += workers {
				err = f(i)
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
