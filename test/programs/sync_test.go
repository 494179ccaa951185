package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// The real program on the real system, but that every fdatasync fails, as
// strace has it: what can't be synced is not acknowledged and not shown, and
// nothing is acknowledged without trying.
func TestFailedSyncIsNeverAcknowledged(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order")
	b.Stop()

	failing := startWithFailingSync(t, b.Data)
	for range 2 {
		c := newClient(t, failing.Producers(), "orders")
		c.write("second order")
		if answer := brokertest.ReadLine(t, c.reader); !strings.HasPrefix(answer, "-FAILED ") {
			t.Errorf("a message that can't be synced was answered %q", answer)
		}
	}
	if got := send(t, failing.Consumers(), "orders?group=onlooker\n"); got != "first order\n" {
		t.Errorf("a consumer was given %q", got)
	}
	failing.Kill()

	b.Restart()
	if got := b.Drain("orders"); !strings.HasPrefix(got, "first order\n") {
		t.Errorf("after the restart the log has %q", got)
	}
	b.Publish("orders", "third order")
}

// startWithFailingSync runs a broker in which fdatasync answers EIO.
func startWithFailingSync(t *testing.T, data string) *brokertest.Process {
	t.Helper()
	wrapper := filepath.Join(t.TempDir(), "broker")
	script := "#!/bin/sh\nexec strace -D -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO '" +
		brokertest.Program(t, "broker") + "' \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := brokertest.Launch("", wrapper, "-pport", "0", "-cport", "0", "-kport", "0", "-data", data)
	if err != nil && strings.Contains(err.Error(), "Operation not permitted") {
		t.Skipf("this system lets nobody trace a process: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}
