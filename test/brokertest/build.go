// Package brokertest runs mbus's programs as processes, for tests and for the
// benchmark: it builds them, starts brokers on free ports, kills and restarts
// them, and speaks the line protocol to them.
package brokertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Main runs a package's tests, then what is to follow them, which may change the
// exit code, and removes the programs built for them.
func Main(m *testing.M, after ...func(code int) int) {
	code := m.Run()
	for _, f := range after {
		code = f(code)
	}
	if built != "" && os.Getenv(programsVariable) == "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

var (
	built     string
	buildOnce = sync.OnceValue(build)
)

// noTables saves half a second for each program: nothing debugs them.
const noTables = "-ldflags=-s"

// Program gives the path of "broker", "producer" or "consumer", built once for
// all tests of a package, with the race detector if the tests have it.
func Program(t testing.TB, name string) string {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(built, name)
}

func build() error {
	if built = os.Getenv(programsVariable); built != "" { // see OwnNetwork
		return nil
	}
	root, err := Root()
	if err != nil {
		return err
	}
	if built, err = os.MkdirTemp("", "mbus-programs-"); err != nil {
		return err
	}
	args := append([]string{"build", noTables, "-o", built + "/"}, buildFlags...)
	cmd := exec.Command("go", append(args, "./cmd/...")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Root is the directory of the module, found from the working directory up.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = parent
	}
}
