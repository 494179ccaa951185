package programs

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

func TestStalledReaderIsCutOffAndHasConsumedNothing(t *testing.T) {
	b := brokertest.Start(t, t.TempDir(), "-write-timeout", "1s")
	messages := manyMessages(200_000)
	b.Publish("orders", messages...)
	stalled := brokertest.Dial(t, b.Consumers(), "orders\n")
	awaitByte(t, stalled)
	mustDrainAll(t, b, messages, func() string { return b.Drain("orders") })
	if _, err := io.Copy(io.Discard, stalled); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the stalled connection ended with %v, not a reset", err)
	}
}

// awaitByte waits until the broker has begun to send.
func awaitByte(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}
