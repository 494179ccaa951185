package programs

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"mbus/test/brokertest"
)

func TestConsumerKilledInTheMiddleHasConsumedNothing(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	messages := manyMessages(200_000) // more than pipes and sockets hold
	b.Publish("orders", messages...)
	for range 3 {
		output, consumer := startConsumer(t, b, "-topic", "orders", "-f", `%s\n`)
		brokertest.ReadLine(t, bufio.NewReader(output))
		kill(consumer)
	}
	mustDrainAll(t, b, messages, func() string {
		return consume(t, b, "-topic", "orders", "-f", `%s\n`).mustWork(t).stdout
	})
	consume(t, b, "-topic", "orders").mustPrint(t, "")
}

// The consumer has read all from its socket but has not been able to write it
// out: what its system knows and what it has done differ. Where it has not read
// all, which is chance, it is killed as well, and the next one is looked at.
func TestConsumerKilledBeforeItsOutputWasTakenHasConsumedNothing(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	messages := []string{strings.Repeat("m", 10_000)} // one batch, and more than the pipe holds
	b.Publish("orders", messages...)
	hasReadAll := false
	for attempts := 0; !hasReadAll; attempts++ {
		if attempts == 100 {
			t.Fatal("no consumer has read all that the broker sent")
		}
		output, consumer := startConsumer(t, b, "-topic", "orders", "-f", `%s\n`)
		await(t, "the pipe is full", func() bool { return waiting(t, output) > smallPipe/2 })
		await(t, "the broker has sent all", func() (closed bool) {
			closed, hasReadAll = closedByBroker(t, b.Consumers())
			return closed
		})
		kill(consumer)
	}
	mustDrainAll(t, b, messages, func() string {
		return consume(t, b, "-topic", "orders", "-f", `%s\n`).mustWork(t).stdout
	})
}

func TestConsumerEndsQuietlyOnAClosedPipe(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	messages := manyMessages(200_000)
	b.Publish("orders", messages...)
	program := brokertest.Program(t, "consumer")
	r := shell(t, b, program+` -port $C -topic orders -f '%s\n' | head -1`)
	r.mustPrint(t, messages[0]+"\n")
	if r.stderr != "" {
		t.Errorf("standard error %q", r.stderr)
	}
	mustDrainAll(t, b, messages, func() string { return b.Drain("orders") })
}

// closedByBroker says whether a client of the address has been sent the broker's
// FIN and has not closed its own side, state CLOSE_WAIT of proc_net_tcp(5), and
// whether it has read all that came before.
func closedByBroker(t *testing.T, addr string) (closed, readAll bool) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(brokertest.Port(addr))
	if err != nil {
		t.Fatal(err)
	}
	const closeWait = "08"
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); f[3] == closeWait && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
			_, unread, _ := strings.Cut(f[4], ":")
			return true, unread <= "00000001" // the FIN counts
		}
	}
	return false, false
}

// smallPipe is the least that a pipe can hold, in bytes.
const smallPipe = 4096

// startConsumer runs the consumer with its standard output in a small pipe, of
// which it gives the reading end.
func startConsumer(t *testing.T, b *brokertest.Broker, args ...string) (*os.File, *exec.Cmd) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), syscall.F_SETPIPE_SZ, smallPipe); errno != 0 {
		t.Fatal(errno)
	}
	args = append([]string{"-port", brokertest.Port(b.Consumers())}, args...)
	cmd := exec.Command(brokertest.Program(t, "consumer"), args...)
	cmd.Env = brokertest.Environment()
	cmd.Stdout = w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return r, cmd
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait() // "signal: killed"
}

// waiting is the number of bytes in a pipe.
func waiting(t *testing.T, pipe *os.File) int {
	t.Helper()
	var n int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, pipe.Fd(), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		t.Fatal(errno)
	}
	return int(n)
}
