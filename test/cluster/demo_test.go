package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// make demo-cluster shows what it says.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	brokertest.NeedTools(t, "nc", "curl")
	root, err := brokertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	demo := exec.Command(filepath.Join(root, "scripts", "demo-cluster.sh"), filepath.Dir(brokertest.Program(t, "broker")))
	work := t.TempDir()
	demo.Env = append(brokertest.Environment(), "TMPDIR="+work)
	out, err := demo.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.HasSuffix(string(out), "every check passed\n") {
		t.Error(err)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}
