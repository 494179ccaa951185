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
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"mbus/internal/units"
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
	return summary(runAll(jobs), len(jobs))
}

// summary is the error that names the jobs that failed once more, because a log shows its end first: each with a line of
// why, and how to run it alone.
func summary(failed []failedJob, of int) error {
	if len(failed) == 0 {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d of %d FAILED:", len(failed), of)
	for _, f := range failed {
		why, _, _ := strings.Cut(f.err.Error(), "\n")
		fmt.Fprintf(&text, "\n  %s: %s\n    %s", f.name, why, f.alone)
	}
	return errors.New(text.String())
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
	name  string
	alone string // the command that runs it alone
	run   func() (said string, err error)
}

// A failedJob has failed, for a reason that is the first line of err.
type failedJob struct {
	job
	err error
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
		alone := "go test -count=1 -run " + units.Quoted("^("+strings.Join(tests[pkg], "|")+")$") + " " + pkg
		jobs = append(jobs, job{pkg, alone, func() (string, error) { return r.prove(pkg, tests[pkg]) }})
	}
	for _, c := range cases {
		alone := "scripts/sabotage.sh " + units.Quoted("^"+regexp.QuoteMeta(c.name)+"$")
		jobs = append(jobs, job{c.name, alone, func() (string, error) { return r.try(c) }})
	}
	return jobs
}

// runAll runs some jobs at a time for each processor.
func runAll(jobs []job) (failed []failedJob) {
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
					failed = append(failed, failedJob{j, err})
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
