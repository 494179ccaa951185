// Own measures a real broker process over real sockets and files, and in the
// same run the machine it runs on. It prints each figure that mbus is to reach,
// with the limit of the machine beside it, and everything that was measured, and
// writes both for people to read. It asserts nothing; its exit code is 1 only if
// something could not be measured.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

type options struct {
	build, dir, out string
	rounds          int
	quick           bool
	only            []string // steps; all if there are none
}

func main() {
	machine.BeRelay()
	machine.BeFloor()
	bus.BeAnswerer()
	var o options
	flag.StringVar(&o.build, "build", "build", "`DIR` with the three programs")
	flag.StringVar(&o.dir, "dir", "", "`DIR` to write under; the default is beside the programs, so on the same disk")
	flag.StringVar(&o.out, "out", "", "`DIR` for FIGURES.md; without it the figures are only printed")
	flag.IntVar(&o.rounds, "rounds", 3, "medians of `N` rounds")
	flag.BoolVar(&o.quick, "quick", false, "less of everything, and one round: a look, not a measurement")
	flag.Func("only", "only the steps in this `LIST`, with commas, such as singly,sharing; figures of others are not measured", func(list string) error {
		o.only = strings.Split(list, ",")
		return nil
	})
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "own:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if len(o.only) > 0 && o.out != "" {
		return errors.New("-only prints figures and does not write them: leave out -out")
	}
	build, err := filepath.Abs(o.build)
	if err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = build
	}
	dir, err := os.MkdirTemp(o.dir, "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	go removeWhenInterrupted(dir)
	rep := &report{size: full, rounds: o.rounds, began: time.Now(), load: machine.Load()}
	if o.quick {
		rep.size, rep.rounds, rep.quick = quick, 1, true
	}
	if rep.version, err = bus.Version(filepath.Join(build, "broker")); err != nil {
		return err
	}
	if err := rep.measure(build, dir, o.only); err != nil {
		return err
	}
	rep.print(os.Stdout)
	if o.out == "" {
		return nil
	}
	return rep.write(o.out)
}

// removeWhenInterrupted ends the program at ^C, with those it has started, and
// without leaving the logs.
func removeWhenInterrupted(dir string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	for _, pid := range machine.Family(os.Getpid())[1:] {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	machine.UnmountBelow(dir)
	for i := 0; i < 10 && os.RemoveAll(dir) != nil; i++ {
		time.Sleep(100 * time.Millisecond) // they may still write
	}
	os.Exit(1)
}

// measure makes the rounds, and then what is measured once.
func (rep *report) measure(build, parent string, only []string) error {
	broker := filepath.Join(build, "broker")
	for i := range rep.rounds {
		rep.say("round %d of %d", i+1, rep.rounds)
		if err := newRound(rep.size, &rep.table, broker).run(parent, (*round).everyRound, only); err != nil {
			return err
		}
	}
	rep.say("once: the backlog, many topics, many connections, HTTP, syncs")
	if err := newRound(rep.size, &rep.table, broker).run(parent, (*round).once, only); err != nil {
		return err
	}
	for _, name := range programs {
		info, err := os.Stat(filepath.Join(build, name))
		if err != nil {
			return err
		}
		rep.number("size of "+name, "MB", float64(info.Size())/1e6)
	}
	rep.took = time.Since(rep.began)
	return nil
}

func (rep *report) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(rep.began).Seconds(), fmt.Sprintf(format, args...))
}
