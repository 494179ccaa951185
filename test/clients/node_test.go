package clients

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// installed is where the programs of the directory node run: npm puts the clients
// beside them, which stay for the next time.
const installed = "../../build/node"

// install makes sure that the clients are those of package-lock.json.
var install = sync.OnceValue(func() error {
	const lock = "package-lock.json"
	want, err := os.ReadFile(filepath.Join("node", lock))
	if err != nil {
		return err
	}
	got, _ := os.ReadFile(filepath.Join(installed, lock))
	_, missing := os.Stat(filepath.Join(installed, "node_modules"))
	if bytes.Equal(want, got) && missing == nil {
		return copyTo(installed)
	}
	if err := os.RemoveAll(installed); err != nil {
		return err
	}
	if err := copyTo(installed); err != nil {
		return err
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	npm.Dir, npm.Stdout, npm.Stderr = installed, os.Stderr, os.Stderr
	if err := npm.Run(); err != nil {
		return errors.Join(err, os.RemoveAll(installed)) // not half of them
	}
	return nil
})

// copyTo copies the directory node.
func copyTo(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir("node")
	if err != nil {
		return err
	}
	for _, f := range files {
		p, err := os.ReadFile(filepath.Join("node", f.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), p, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// script runs one of the programs against the broker at an address.
func script(t *testing.T, name, address string, more ...string) {
	t.Helper()
	if err := install(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(patient(t), "node", append([]string{name, address}, more...)...)
	cmd.Dir = installed
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("node %s: %v\n%s", name, err, out)
	}
}

func TestKafkaJS(t *testing.T)      { script(t, "kafkajs.js", start(t).address) }
func TestPlatformatic(t *testing.T) { script(t, "platformatic.js", start(t).address) }
