// Package programs tests the three programs as a user has them: as processes,
// with real sockets, files and signals.
package programs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

// A result is what a program left behind.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command to its end.
func run(t *testing.T, stdin io.Reader, name string, args ...string) result {
	t.Helper()
	r, err := execute(stdin, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// execute is run for any goroutine. It ends a program that does not end, with
// the exit code -1.
func execute(stdin io.Reader, name string, args ...string) (result, error) {
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = brokertest.Environment()
	cmd.WaitDelay = time.Second // for what a shell has started
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}, err
}

// produce runs the producer against b, and consume the consumer.
func produce(t *testing.T, b *brokertest.Broker, stdin io.Reader, args ...string) result {
	t.Helper()
	args = append([]string{"-port", brokertest.Port(b.Producers())}, args...)
	return run(t, stdin, brokertest.Program(t, "producer"), args...)
}

func consume(t *testing.T, b *brokertest.Broker, args ...string) result {
	t.Helper()
	args = append([]string{"-port", brokertest.Port(b.Consumers())}, args...)
	return run(t, nil, brokertest.Program(t, "consumer"), args...)
}

// shell runs a line of shell in which $P and $C are the broker's ports.
func shell(t *testing.T, b *brokertest.Broker, line string) result {
	t.Helper()
	line = strings.ReplaceAll(line, "$P", brokertest.Port(b.Producers()))
	line = strings.ReplaceAll(line, "$C", brokertest.Port(b.Consumers()))
	return run(t, nil, "/bin/sh", "-c", line)
}

// mustWork fails the test unless the program exited with 0.
func (r result) mustWork(t *testing.T) result {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit code %d; standard output %q, standard error %q", r.code, r.stdout, r.stderr)
	}
	return r
}

// mustPrint fails the test unless the program exited with 0 and printed want.
func (r result) mustPrint(t *testing.T, want string) {
	t.Helper()
	if r.mustWork(t).stdout != want {
		t.Fatalf("standard output %q, not %q; standard error %q", r.stdout, want, r.stderr)
	}
}
