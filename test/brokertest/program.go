package brokertest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// StartProgram is Start with another program than the broker built for the
// tests: one that Variant or Traced gave.
func StartProgram(t testing.TB, program, data string, flags ...string) *Broker {
	t.Helper()
	b := &Broker{Data: data, t: t, flags: flags, program: program}
	b.Begin()
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	return b
}

// Use has the next Begin run another program on the same directory; empty is the
// broker built for the tests.
func (b *Broker) Use(program string) { b.program = program }

// A Change replaces text in one source file; Old must stand there exactly once.
type Change struct {
	File     string // from the module's root
	Old, New string
}

// Variant builds a broker whose source differs by the changes, without touching
// the source, and gives its path. It has no race detector.
func Variant(t testing.TB, changes ...Change) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := make(map[string]string)
	for i, c := range changes {
		name := filepath.Join(root, c.File)
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), c.Old); n != 1 {
			t.Fatalf("%s has %q %d times, not once", c.File, c.Old, n)
		}
		replace[name] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		text := strings.Replace(string(source), c.Old, c.New, 1)
		if err := os.WriteFile(replace[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "broker")
	cmd := exec.Command("go", "build", "-overlay", file, "-o", program, "./cmd/broker")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// Traced gives the path of a script that runs a broker program under strace with
// one injection, such as "fdatasync:retval=0"; empty is the broker built for
// the tests. The process is the broker's own: strace stands beside it.
func Traced(t testing.TB, program, injection string) string {
	t.Helper()
	if program == "" {
		program = Program(t, "broker")
	}
	calls, _, _ := strings.Cut(injection, ":")
	script := fmt.Sprintf("#!/bin/sh\nexec strace -D -f -qq -o /dev/null --seccomp-bpf -e trace=%s -e inject=%s '%s' \"$@\"\n",
		calls, injection, program)
	file := filepath.Join(t.TempDir(), "broker")
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}
