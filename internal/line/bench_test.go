package line_test

import (
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/jetstream/enginetest"
)

// lineOf100 is a message of 100 bytes, LF included.
var lineOf100 = strings.Repeat("x", 99) + "\n"

// startQuick runs a bus that leaves syncing to the system.
func startQuick(t testing.TB) *bus {
	return start(t, setup{log: commitlog.Options{SyncEvery: time.Hour}})
}

// connect is dial without what a test's client costs.
func (b *bus) connect(address, request string) *net.TCPConn {
	b.t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		b.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// publishLines sends n copies of lineOf100 and waits until all are
// acknowledged.
func publishLines(t testing.TB, conn *net.TCPConn, n int) {
	t.Helper()
	const piece = 1000
	text := []byte(strings.Repeat(lineOf100, piece))
	written := make(chan error, 1)
	go func() {
		for left := n; left > 0; left -= piece {
			if _, err := conn.Write(text[:min(left, piece)*len(lineOf100)]); err != nil {
				written <- err
				return
			}
		}
		written <- conn.CloseWrite()
	}()
	var last [64]byte // the end of all answers
	kept := 0
	for {
		got, err := conn.Read(last[kept:])
		if kept += got; kept > 32 {
			kept = copy(last[:], last[kept-32:kept])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if want := "+" + strconv.Itoa(n) + "\n"; !strings.HasSuffix(string(last[:kept]), want) {
		t.Fatalf("the last answers are %q, not %q", last[:kept], want)
	}
}

// drainLines reads n copies of lineOf100.
func drainLines(t testing.TB, conn *net.TCPConn, buf []byte, n int) {
	t.Helper()
	total := 0
	for {
		got, err := conn.Read(buf)
		total += got
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if total != n*len(lineOf100) {
		t.Fatalf("%d bytes came of %d", total, n*len(lineOf100))
	}
}

// allocations is the number of objects that f allocates, in this whole process.
func allocations(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}

func TestMessagesAreNotAllocatedOnEitherWay(t *testing.T) {
	enginetest.NotHere(t, "allocations of the engine are counted, too")
	const n = 100_000
	b := startQuick(t)
	buf := make([]byte, 256<<10)
	in := func() { publishLines(t, b.connect(b.producers, "orders"), n) }
	in() // fills the pools
	if per := allocations(in) / n; per > 0.01 {
		t.Errorf("a message in costs %.3f allocations", per)
	}
	out := func() { drainLines(t, b.connect(b.consumers, "orders?n="+strconv.Itoa(n)), buf, n) }
	out()
	if per := allocations(out) / n; per > 0.01 {
		t.Errorf("a message out costs %.3f allocations", per)
	}
}

func BenchmarkPublishLines(b *testing.B) {
	bus := startQuick(b)
	b.SetBytes(int64(len(lineOf100)))
	b.ReportAllocs()
	b.ResetTimer()
	publishLines(b, bus.connect(bus.producers, "orders"), b.N)
}

func BenchmarkDrainLines(b *testing.B) {
	bus := startQuick(b)
	publishLines(b, bus.connect(bus.producers, "orders"), b.N)
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(lineOf100)))
	b.ReportAllocs()
	b.ResetTimer()
	drainLines(b, bus.connect(bus.consumers, "orders"), buf, b.N)
}

// BenchmarkConnection is a client that connects without TLS, publishes a message and reads its acknowledgement.
func BenchmarkConnection(b *testing.B) {
	b.Run("plain", func(b *testing.B) { connectOften(b, startQuick(b)) })
	b.Run("plain at a port with TLS", func(b *testing.B) {
		connectOften(b, start(b, setup{log: commitlog.Options{SyncEvery: time.Hour}, overTLS: true}))
	})
}

func connectOften(b *testing.B, bus *bus) {
	request, answer := []byte("orders\n"+lineOf100), make([]byte, 8)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.Dial("tcp", bus.producers)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if n, err := conn.Read(answer); err != nil || string(answer[:n]) != "+1\n" {
			b.Fatalf("%q, %v", answer[:n], err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // so that the client's ports do not run out
		conn.Close()
	}
}
