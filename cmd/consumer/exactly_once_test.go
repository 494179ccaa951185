package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/test/brokertest"
)

func await(t *testing.T, done func() bool) {
	t.Helper()
	brokertest.Await(t, time.Minute, "what is waited for", done)
}

const (
	partitions   = 3
	perPartition = 20_000
)

// A replay is a broker whose topic is given: message O of partition P is "P/O"
// and padding. It serves from=P:O,… with or without follow, in pieces.
type replay struct {
	port     string
	sent     atomic.Int64 // messages
	complete atomic.Bool  // a connection has had all
}

func serveReplay(t *testing.T) *replay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &replay{}
	_, b.port, _ = net.SplitHostPort(l.Addr().String())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

var offsetPattern = regexp.MustCompile(`(\d+):(\d+)`)

func (b *replay) serve(conn net.Conn) {
	defer conn.Close()
	request := make([]byte, 4096)
	n, _ := conn.Read(request)
	line, _ := url.QueryUnescape(string(request[:n]))
	var next [partitions]int
	for _, m := range offsetPattern.FindAllStringSubmatch(line, -1) {
		p, _ := strconv.Atoi(m[1])
		next[p], _ = strconv.Atoi(m[2])
	}
	for b.sendSome(conn, &next) {
	}
	if !strings.Contains(line, "follow") {
		_, _ = io.WriteString(conn, ".\n")
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn)
}

// sendSome sends some messages of a partition, and reports whether there may be
// more.
func (b *replay) sendSome(conn net.Conn, next *[partitions]int) bool {
	p := rand.IntN(partitions)
	for i := 0; i < partitions && next[p] == perPartition; i++ {
		p = (p + 1) % partitions
	}
	n := min(1+rand.IntN(200), perPartition-next[p])
	if n == 0 {
		b.complete.Store(true)
		return false
	}
	values := make([]string, n)
	for i := range values {
		values[i] = contents(p, next[p]+i)
	}
	if _, err := io.WriteString(conn, fmt.Sprintf("@%d\n%s", p, batchOf(int64(next[p]), values...))); err != nil {
		return false
	}
	next[p] += n
	b.sent.Add(int64(n))
	return true
}

func contents(partition, offset int) string {
	return fmt.Sprintf("%d/%d %s", partition, offset, strings.Repeat("x", (offset*7919)%300))
}

func TestEachMessageIsInTheFileOnceHoweverOftenTheConsumerIsKilled(t *testing.T) {
	b := serveReplay(t)
	path := filepath.Join(t.TempDir(), "orders.txt")
	begin := func(args ...string) *process {
		p := command(t, append([]string{"-port", b.port, "-topic", "orders", "-f", `%s\n`, "-out", path}, args...)...)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	kills, torn := 15, 0
	for range kills {
		p := begin("-follow")
		killAt := b.sent.Load() + rand.Int64N(6000)
		before, _ := os.Stat(path + ".position")
		await(t, func() bool { // something happens, and then at random
			now, _ := os.Stat(path + ".position")
			return b.sent.Load() >= killAt || b.complete.Load() || now != nil && !os.SameFile(before, now) && rand.IntN(10) == 0
		})
		_ = p.Process.Kill()
		_ = p.Wait()
		if tornNow(t, path) {
			torn++
		}
	}
	t.Logf("%d kills, %d of them with bytes that were cut off", kills, torn)
	p := begin()
	p.check(t, 0, "")
	checkOnce(t, path)
}

// tornNow reports whether the file is longer than its position says.
func tornNow(t *testing.T, path string) bool {
	t.Helper()
	text, err := os.ReadFile(path + ".position")
	if err != nil {
		return false // killed before it began
	}
	p, err := decodePosition(string(text))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size() > p.size
}

// checkOnce demands every message of each partition once, in order.
func checkOnce(t *testing.T, path string) {
	t.Helper()
	var next [partitions]int
	for line := range bytes.Lines([]byte(read(t, path))) {
		p, err := strconv.Atoi(string(line[:1]))
		if err != nil || p >= partitions {
			t.Fatalf("line %.40q", line)
		}
		if want := contents(p, next[p]) + "\n"; string(line) != want {
			t.Fatalf("line %.40q where %.40q should be", line, want)
		}
		next[p]++
	}
	for p, n := range next {
		if n != perPartition {
			t.Errorf("partition %d: %d messages of %d", p, n, perPartition)
		}
	}
}
