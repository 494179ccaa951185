// Sabotage tests the tests. Each case breaks a promise in one source file, in a copy that the
// build uses instead, and demands that a named test turns red. scripts/sabotage.sh has the cases.
//
//	sabotage [-n] [PATTERN] <CASES
//
// With a pattern only the cases with such a name run, and with -n none: then it says only which
// cases do not fit the source. All run, even if one fails, many at a time: a test that notices
// has often waited in vain for a minute.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
)

func main() {
	dry := flag.Bool("n", false, "only say which cases do not fit the source")
	flag.Parse()
	if err := sabotageAll(flag.Arg(0), *dry); err != nil {
		fmt.Fprintln(os.Stderr, "sabotage:", err)
		os.Exit(1)
	}
}

func sabotageAll(pattern string, dry bool) error {
	names, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	cases, err := read(os.Stdin, names)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := fit(root, cases); err != nil || dry {
		return err
	}
	r := runner{root: root, building: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if r.flags, err = goFlags(); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp("", "mbus-sabotage-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	jobs := r.jobs(cases)
	if failed := runAll(jobs); failed > 0 {
		return fmt.Errorf("%d of %d FAILED", failed, len(jobs))
	}
	return nil
}

// quick has a build take half as long: without tables for debuggers, and without inlining.
const quick = " -ldflags=-s '-gcflags=mbus/...=-dwarf=false -l'"

// goFlags are those of the environment, and quick.
func goFlags() (string, error) {
	flags, err := exec.Command("go", "env", "GOFLAGS").Output()
	return strings.TrimSpace(string(flags)) + quick, err
}

// A job is one line of the output.
type job struct {
	name string
	run  func() (said string, err error)
}

// jobs are the tests of each package on the source as it is, and then the cases.
func (r runner) jobs(cases []*sabotage) (jobs []job) {
	tests := make(map[string][]string)
	var packages []string
	for _, c := range cases {
		if tests[c.pkg] == nil {
			packages = append(packages, c.pkg)
		}
		if !slices.Contains(tests[c.pkg], c.test) {
			tests[c.pkg] = append(tests[c.pkg], c.test)
		}
	}
	for _, pkg := range packages {
		jobs = append(jobs, job{pkg, func() (string, error) { return r.prove(pkg, tests[pkg]) }})
	}
	for _, c := range cases {
		jobs = append(jobs, job{c.name, func() (string, error) { return r.try(c) }})
	}
	return jobs
}

// runAll runs some jobs at a time for each processor.
func runAll(jobs []job) (failed int) {
	var out sync.Mutex
	var workers sync.WaitGroup
	next := make(chan job)
	done := 0
	for range 4 * runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range next {
				said, err := j.run()
				out.Lock()
				done++
				if err != nil {
					failed++
					said = "FAILED: " + err.Error()
				}
				fmt.Printf("sabotage %d of %d: %s: %s\n", done, len(jobs), j.name, said)
				out.Unlock()
			}
		})
	}
	for _, j := range jobs {
		next <- j
	}
	close(next)
	workers.Wait()
	return failed
}
