package fault

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// stalledMemory is by how much consumers that never read may have the broker's
// memory grow, in bytes.
const stalledMemory = 128 << 20

// Injected: a thousand consumers of every kind that never read, over a backlog of
// hundreds of megabytes; with -long of gigabytes. Expected: the broker's memory
// grows by no more than 128 MiB, and publishers and a consumer beside them go on.
func TestF27ConsumersThatNeverRead(t *testing.T) { overUsers(t, attackByConsumersThatNeverRead) }

func attackByConsumersThatNeverRead(t *testing.T, over transport) {
	b := over.start(t)
	s := &siege{Broker: b, t: t, over: over}
	l := newLedger("load")
	l.login = b.Login()
	backlog := over.runs(200<<20, 4<<30)
	fillTopic(t, b, "backlog", backlog)
	publishTo(l, b, 1, 1)
	worker := newOneByOne(t, b, "load", "one")
	worker.next()
	if n := drainBytes(t, b, "backlog?group=first"); n < backlog {
		t.Fatalf("the backlog has %d bytes", n)
	}
	before := residentBytes(t, b.Pid())

	var stalled []net.Conn
	for i := range over.runs(1000, 1000) {
		request := fmt.Sprintf("backlog?group=g%d", i)
		request += []string{"", "&follow", "&follow&ack&window=100000000", "&ack&ordered", "&format=json", "&format=batch"}[i%6]
		if i%7 == 0 {
			request = "backlog?from=beginning&follow"
		}
		stalled = append(stalled, s.dialNarrow(t, b.Consumers(), request+"\n"))
	}
	for _, c := range stalled {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	loads := newLoads(l, b, 4)
	loads.await(t, 5000)
	for range 20 {
		worker.next()
	}
	grown := residentBytes(t, b.Pid()) - before
	loads.end()
	t.Logf("%d consumers that never read cost %d MiB, %d KiB each", len(stalled), grown>>20, grown/len(stalled)>>10)
	if grown > stalledMemory && !brokertest.Race { // under the race detector memory means nothing
		t.Errorf("%d consumers that never read cost %d MiB", len(stalled), grown>>20)
	}
	c := l.judge(lines(b.Drain("load?from=beginning")))
	report(t, c)
	c.mustKeep(t)
	l.mustAnswer(t, b)
}

// dialNarrow connects with the smallest buffer for what comes, so that not reading
// is noticed soon, and sends text.
func dialNarrow(t *testing.T, address, text string) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1) }); e != nil {
			return e
		}
		return err
	}}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// fillTopic publishes so many bytes, a KiB a message.
func fillTopic(t *testing.T, b *brokertest.Broker, topic string, bytes int) {
	t.Helper()
	const connections, size = 4, 1 << 10
	var publishing sync.WaitGroup
	for i := range connections {
		publishing.Go(func() {
			n := bytes / connections / size
			conn, err := net.Dial("tcp", b.Producers())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			var text strings.Builder
			r := rand.New(rand.NewPCG(4, uint64(i)))
			for text.Len() < size-1 {
				text.WriteByte(byte('a' + r.IntN(26)))
			}
			message := text.String() + "\n"
			go func() {
				io.WriteString(conn, b.Login()+topic+"\n") // if it fails, so does reading
				piece := strings.Repeat(message, 1000)
				for left := n; left > 0; left -= 1000 {
					io.WriteString(conn, piece[:min(left, 1000)*size])
				}
				conn.(*net.TCPConn).CloseWrite()
			}()
			answers, err := io.ReadAll(conn)
			if last := brokertest.LastLine(string(answers)); err != nil || last != fmt.Sprintf("+%d", n) {
				t.Errorf("the backlog was answered %q: %v", last, err)
			}
		})
	}
	publishing.Wait()
}

// drainBytes is how many bytes a drain gives.
func drainBytes(t *testing.T, b *brokertest.Broker, request string) int {
	t.Helper()
	conn := brokertest.Dial(t, b.Consumers(), b.Login()+request+"\n")
	defer conn.Close()
	n, err := io.Copy(io.Discard, conn)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// residentBytes is the memory that a process has, of proc_pid_statm(5).
func residentBytes(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
