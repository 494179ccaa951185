package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mbus/internal/cluster/clusterkey"
)

// A shell makes files that others can read: a key's is closed before the key is in it.
func TestNewKeyMakesAFileThatABrokerTakes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "cluster.key")
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `umask 022; "$0" new-key > "$1"`, os.Args[0], name)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	key, err := clusterkey.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(said); !strings.Contains(text, key.ID()) || strings.Contains(text, key.Line()[20:]) {
		t.Errorf("it says %q", text)
	}
}

func TestNewKeyIsPrintedWhereThereIsNoFile(t *testing.T) {
	first, _, code := admin(t, "new-key")
	second, _, _ := admin(t, "new-key")
	if _, err := clusterkey.Parse(first); err != nil || code != 0 || first == second {
		t.Errorf("%d, %q, %q: %v", code, first, second, err)
	}
	if _, said, code := admin(t, "new-key", "cluster.key"); code != 2 || !strings.Contains(said, "unexpected argument") {
		t.Errorf("%d, %q", code, said)
	}
}
