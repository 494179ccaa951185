// Peers measures mbus beside the brokers that people would take instead, and
// beside the machine, in one run: each broker a process of its own, one after
// the other in every round. It prints a table, and writes it with charts for
// people to read. It asserts nothing; its exit code is 1 only where nothing
// could be measured.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

type options struct {
	build, dir, out string
	rounds          int
	systems         string
	quick           bool
}

func main() {
	machine.BeRelay()
	bus.BeAnswerer()
	var o options
	flag.StringVar(&o.build, "build", "../build", "`DIR` with mbus's programs")
	flag.StringVar(&o.dir, "dir", "", "`DIR` to write under; the default is beside the programs, so on the same disk")
	flag.StringVar(&o.out, "out", "", "`DIR` for BENCHMARKS.md and its charts; without it only the table is printed")
	flag.IntVar(&o.rounds, "rounds", 3, "medians of `N` rounds")
	flag.StringVar(&o.systems, "systems", "", "only those whose name begins with one of these `NAMES`, separated by commas; machine is one")
	flag.BoolVar(&o.quick, "quick", false, "less of everything, and one round: a look, not a measurement")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	build, err := filepath.Abs(o.build)
	if err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = build
	}
	dir, err := os.MkdirTemp(o.dir, "peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	rep := &report{
		results: newResults(), size: full, rounds: o.rounds, began: time.Now(), load: machine.Load(),
		versions: make(map[string]string),
	}
	if o.quick {
		rep.size, rep.rounds = quick, 1
	}
	go rep.interrupt(dir)
	rep.find(bus.All(filepath.Join(build, "broker"), dir), o)
	if err := rep.measure(dir, chosen(o, "machine")); err != nil {
		return err
	}
	rep.print(os.Stdout)
	if o.out == "" {
		return nil
	}
	return rep.write(o.out)
}

// interrupt has the first ^C end the run after the system that is under way, and
// the second one at once.
func (rep *report) interrupt(dir string) {
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	rep.interrupted.Store(true)
	<-stop
	bus.StopAll()
	os.RemoveAll(dir)
	os.Exit(1)
}

// chosen says whether a system is to be measured.
func chosen(o options, name string) bool {
	if o.systems == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(o.systems, ","), func(begin string) bool {
		return strings.HasPrefix(strings.ToLower(name), strings.ToLower(strings.TrimSpace(begin)))
	})
}

// find keeps the systems that are chosen and there.
func (rep *report) find(all []*bus.System, o options) {
	for _, sys := range all {
		if !chosen(o, sys.Name) {
			rep.leftOut = append(rep.leftOut, sys.Name)
			continue
		}
		version, err := sys.Version()
		if err != nil {
			rep.note("%s is not here: %v", sys.Name, err)
			fmt.Fprintf(os.Stderr, "%s is not here: %v\n", sys.Name, err)
			continue
		}
		rep.versions[sys.Name] = version
		rep.systems = append(rep.systems, sys)
	}
}

// measure makes the rounds. Each begins with another system than the one before.
func (rep *report) measure(dir string, machineToo bool) error {
	for i := range rep.rounds {
		if machineToo && !rep.interrupted.Load() {
			rep.say(i, "machine")
			if err := limits(rep.size, rep.results, dir); err != nil {
				return err
			}
		}
		for j := range rep.systems {
			if rep.interrupted.Load() {
				break
			}
			sys := rep.systems[(i+j)%len(rep.systems)]
			rep.say(i, sys.Name)
			if err := try(rep.size, rep.results, sys, dir); err != nil {
				rep.fail(sys.Name, err)
			}
		}
	}
	if len(rep.values) == 0 {
		return fmt.Errorf("nothing could be measured")
	}
	if rep.interrupted.Load() {
		rep.note("The run was interrupted: not every system had %d rounds", rep.rounds)
	}
	rep.took = time.Since(rep.began)
	return nil
}

func (rep *report) say(round int, name string) {
	fmt.Fprintf(os.Stderr, "%5.0fs  round %d of %d: %s\n", time.Since(rep.began).Seconds(), round+1, rep.rounds, name)
}
