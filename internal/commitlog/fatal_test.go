package commitlog

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"mbus/internal/batch/batchtest"
)

// A connection that leads recovers from panics, but a log that has stopped in the middle
// of a commit would never answer again.
func TestAPanicWhileCommittingIsTheEnd(t *testing.T) {
	const child = "MBUS_TEST_PANIC"
	dir := os.Getenv(child)
	if dir == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), child+"="+t.TempDir()) // the panic leaves what the child makes
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic: while answering") {
			t.Errorf("the program ended with %v and said %q", err, out)
		}
		return
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { t.Logf("recovered from %v", recover()) }()
	var m batchtest.Maker
	lead, err := p.Write(m.Batch(1, 100), func(int64, error) { panic("while answering") })
	if err != nil {
		t.Fatal(err)
	}
	lead.Commit()
}
