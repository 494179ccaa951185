package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A runner builds tests and runs them.
type runner struct {
	root     string
	flags    string        // GOFLAGS of all builds
	dir      string        // for what is built
	building chan struct{} // holds one for each build at work
}

// prove fails unless the tests of a package pass on the source as it is.
func (r runner) prove(pkg string, tests []string) (said string, err error) {
	dir, err := os.MkdirTemp(r.dir, "")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	program, err := r.build(dir, pkg, r.flags)
	if err != nil {
		return "", err
	}
	begin := time.Now()
	out, err := r.run(program, pkg, r.flags, tests, "-test.timeout=10m")
	var red []string
	for _, test := range tests {
		if !ended("PASS", test).Match(out) {
			red = append(red, test)
		}
	}
	if err != nil || len(red) > 0 {
		return "", fmt.Errorf("as it is, these tests do not pass: %s%s\n%s", strings.Join(red, ", "), died(out), out)
	}
	return fmt.Sprintf("%d tests pass as it is after %.1f s", len(tests), time.Since(begin).Seconds()), nil
}

// tries are how often a test may miss what a case breaks: some tests meet it by a race or at random, and one that turns
// red in any of them has shown that it can.
const tries = 3

// try fails unless the case turns its test red.
func (r runner) try(c *sabotage) (said string, err error) {
	dir, err := os.MkdirTemp(r.dir, "")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := c.overlay(r.root, dir)
	if err != nil {
		return "", err
	}
	flags := r.flags + " -overlay=" + overlay
	program, err := r.build(dir, c.pkg, flags)
	if err != nil {
		return "", err
	}
	begin := time.Now()
	again := ""
	out, err := r.run(program, c.pkg, flags, []string{c.test}, "-test.timeout=3m", "-test.failfast")
	for n := 2; err == nil && n <= tries; n++ {
		again = fmt.Sprintf(" in run %d", n)
		out, err = r.run(program, c.pkg, flags, []string{c.test}, "-test.timeout=3m", "-test.failfast")
	}
	switch {
	case err == nil:
		return "", fmt.Errorf("%s did not notice in %d runs\n%s", c.test, tries, out)
	case !ended("FAIL", c.test).Match(out):
		return "", fmt.Errorf("the sabotaged build does something else than fail %s: %w%s\n%s", c.test, err, died(out), out)
	}
	return fmt.Sprintf("%s notices%s after %.1f s", c.test, again, time.Since(begin).Seconds()), nil
}

// overlay writes the changed source, and what has a build take it for the file, into dir.
func (c *sabotage) overlay(root, dir string) (file string, err error) {
	changed, file := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, c.file): changed}})
	return file, errors.Join(err, os.WriteFile(changed, c.source, 0o600), os.WriteFile(file, text, 0o600))
}

func (r runner) build(dir, pkg, flags string) (program string, err error) {
	r.building <- struct{}{}
	defer func() { <-r.building }()
	program = filepath.Join(dir, "test")
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-o", program, pkg)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "GOFLAGS="+flags)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w%s\n%s", err, line(out, "[^#\n].*"), out)
	}
	return program, nil
}

// run runs tests of a built program where "go test" would, with GOFLAGS for the programs that
// they build.
func (r runner) run(program, pkg, flags string, tests []string, args ...string) (out []byte, err error) {
	cmd := exec.Command(program, append(args, "-test.v", "-test.run=^("+strings.Join(tests, "|")+")$")...)
	cmd.Dir = filepath.Join(r.root, pkg)
	cmd.Env = append(os.Environ(), "GOFLAGS="+flags)
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &all
	err = cmd.Run()
	return all.Bytes(), err
}

// ended matches the line that says how a test has ended.
func ended(how, test string) *regexp.Regexp {
	return regexp.MustCompile("(?m)^--- " + how + ": " + test + " ")
}

// died is the line that says of what a program has died, if it has.
func died(out []byte) string { return line(out, "(panic|fatal error): .*") }

// line is the first line of out that is like this, behind ": "; "" if there is none.
func line(out []byte, like string) string {
	if found := regexp.MustCompile("(?m)^" + like).Find(out); found != nil {
		return ": " + string(found)
	}
	return ""
}
