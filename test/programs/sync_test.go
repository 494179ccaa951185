package programs

import (
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// The real program on the real system, but that every fdatasync fails, as
// strace has it: what can't be synced is not acknowledged and not shown, and
// nothing is acknowledged without trying.
func TestFailedSyncIsNeverAcknowledged(t *testing.T) {
	mustNotAcknowledge(t, brokertest.Traced(t, "", "fdatasync:error=EIO"), "second order")
}

// The same of a sync in the background.
func TestFailedSyncOfMuchIsNeverAcknowledged(t *testing.T) {
	failing := brokertest.Change{File: "internal/vfs/aio.go", Old: "if e.result >= 0 {\n\t\treturn nil", New: "if e.result >= 0 {\n\t\treturn syscall.EIO"}
	mustNotAcknowledge(t, brokertest.Variant(t, failing), strings.Repeat("second order ", 10_000))
}

func mustNotAcknowledge(t *testing.T, program, message string) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order")
	b.Stop()

	failing := brokertest.StartProgram(t, program, b.Data)
	for range 2 {
		c := newClient(t, failing.Producers(), "orders")
		c.write(message)
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
