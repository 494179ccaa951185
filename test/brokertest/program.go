package brokertest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

// variants are those that have been built, by their changes.
var variants = struct {
	sync.Mutex
	programs map[string]string
}{programs: make(map[string]string)}

// Variant builds a broker whose source differs by the changes, each of another file,
// without touching the source, once for all tests of a package, and gives its path. It
// has no race detector.
func Variant(t testing.TB, changes ...Change) string {
	t.Helper()
	if err := buildOnce(); err != nil { // makes the directory
		t.Fatal(err)
	}
	variants.Lock()
	defer variants.Unlock()
	key := fmt.Sprint(changes)
	if variants.programs[key] == "" {
		dir, err := os.MkdirTemp(built, "variant-")
		if err == nil {
			err = buildWith(dir, changes)
		}
		if err != nil {
			t.Fatalf("a broker with %+v: %v", changes, err)
		}
		variants.programs[key] = filepath.Join(dir, "broker")
	}
	return variants.programs[key]
}

// apply writes the changed source into a file, and gives the name of what it replaces, too.
func (c Change) apply(root, changed string, replaced map[string]string) (name string, err error) {
	name = filepath.Join(root, c.File)
	from := name
	if by := replaced[name]; by != "" {
		from = by
	}
	source, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), c.Old); n != 1 {
		return "", fmt.Errorf("the source has %q %d times, not once", c.Old, n)
	}
	return name, os.WriteFile(changed, []byte(strings.Replace(string(source), c.Old, c.New, 1)), 0o600)
}

// overlaid are the files that GOFLAGS replaces, as test/sabotage has it: a -overlay of a command would hide them.
func overlaid() (map[string]string, error) {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	_, file, found := strings.Cut(os.Getenv("GOFLAGS"), "-overlay=")
	if !found {
		return overlay.Replace, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return overlay.Replace, json.Unmarshal(text, &overlay)
}

// buildWith builds the broker with the changes into dir.
func buildWith(dir string, changes []Change) error {
	root, err := Root()
	if err != nil {
		return err
	}
	replaced, err := overlaid()
	if err != nil {
		return err
	}
	for i, c := range changes {
		changed := filepath.Join(dir, fmt.Sprintf("changed%d.go", i))
		name, err := c.apply(root, changed, replaced)
		if err != nil {
			return err
		}
		replaced[name] = changed
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", noTables, "-overlay", file, "-o", dir+"/", "./cmd/broker")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// canTrace says why this system lets nobody trace a process.
var canTrace = sync.OnceValue(func() error {
	out, err := exec.Command("strace", "-o", "/dev/null", "true").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
})

// Strace gives the path of a script that runs a broker program under strace with
// these options; an empty program is the broker built for the tests. The process is
// the broker's own: strace stands beside it. Where tracing is not allowed the test
// is skipped.
func Strace(t testing.TB, program, options string) string {
	t.Helper()
	NeedTools(t, "strace")
	if err := canTrace(); err != nil {
		t.Skipf("needs a system that lets it trace: %v", err)
	}
	if program == "" {
		program = Program(t, "broker")
	}
	script := fmt.Sprintf("#!/bin/sh\nexec strace -D -f -qq %s '%s' \"$@\"\n", options, program)
	file := filepath.Join(t.TempDir(), "broker")
	// A process that is begun meanwhile would have the file open for writing for a moment,
	// and the system does not run such a file (ETXTBSY).
	syscall.ForkLock.RLock()
	err := os.WriteFile(file, []byte(script), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Traced is Strace with one injection, such as "fdatasync:retval=0". A broker whose
// syncs are tampered with makes none in the background.
func Traced(t testing.TB, program, injection string) string {
	t.Helper()
	calls, _, _ := strings.Cut(injection, ":")
	if strings.Contains(calls, "fdatasync") {
		calls += ",io_submit"
		injection += " -e inject=io_submit:error=ENOSYS"
	}
	quick := "--seccomp-bpf" // strace 6.1 does not count with it
	if strings.Contains(injection, "when=") {
		quick = ""
	}
	return Strace(t, program, fmt.Sprintf("-o /dev/null %s -e trace=%s -e inject=%s", quick, calls, injection))
}
