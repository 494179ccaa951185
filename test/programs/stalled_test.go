package programs

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
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
	mustDrainAll(t, messages, func() string { return b.Drain("orders") })
	if _, err := io.Copy(io.Discard, stalled); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the stalled connection ended with %v, not a reset", err)
	}
}

func TestStalledReadersCostLittleMemory(t *testing.T) {
	const (
		readers = 300
		each    = 128 << 10
		garbage = 2 // times that, which the collector may let the heap grow to
	)
	if brokertest.Race {
		t.Skip("under the race detector memory means nothing")
	}
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", manyMessages(200_000)...)
	mustEqual(t, firstLine(b.Drain("orders?group=warm")), manyMessages(1)[0])
	before := residentBytes(t, b.Pid())
	for i := range readers {
		conn := brokertest.Dial(t, b.Consumers(), "orders?group=g"+itoa(i)+"\n")
		awaitByte(t, conn)
	}
	grown := residentBytes(t, b.Pid()) - before
	t.Logf("%d KiB for each of %d stalled readers", grown/readers>>10, readers)
	if grown > readers*each*garbage {
		t.Errorf("%d stalled readers cost %d MiB", readers, grown>>20)
	}
	b.Publish("other", "the others go on")
	mustEqual(t, b.Drain("other"), "the others go on\n")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// awaitByte waits until the broker has begun to send.
func awaitByte(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func residentBytes(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + itoa(pid) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
