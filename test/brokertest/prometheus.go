package brokertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// findPrometheus finds what scripts/prometheus.sh fetches, and fetches it in continuous integration.
func findPrometheus(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("prometheus"); err == nil {
		return path
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "build", "prometheus")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if os.Getenv("CI") != "" {
		out, err := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "prometheus.sh")).CombinedOutput()
		if err != nil {
			t.Fatalf("scripts/prometheus.sh: %v\n%s", err, out)
		}
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	t.Skip("not run: scripts/prometheus.sh fetches prometheus, which this test needs")
	return ""
}

// StartPrometheus runs a server of Prometheus with a configuration, in YAML, until the end of the test. The test is left out
// where there is none.
func StartPrometheus(t testing.TB, config string) (url string) {
	t.Helper()
	program, dir, address := findPrometheus(t), t.TempDir(), Reserve(t) // Prometheus takes no port 0
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to keep
		_ = cmd.Wait()
		log.Close()
		if t.Failed() {
			p, _ := os.ReadFile(log.Name())
			t.Logf("Prometheus says:\n%s", p)
		}
	})
	return "http://" + address
}
