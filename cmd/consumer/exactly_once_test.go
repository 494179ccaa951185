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
	"syscall"
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
	if strings.HasPrefix(line, "?topics") {
		_, _ = io.WriteString(conn, someTopic)
		return
	}
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
	checkOnce(t, read(t, path))
}

// rotate moves the file away, if it is there, and perhaps makes a new one, as logrotate
// does.
func rotate(t *testing.T, path string, n *int) {
	t.Helper()
	err := os.Rename(path, fmt.Sprintf("%s.%d", path, *n+1))
	switch {
	case err == nil:
		*n++
	case !os.IsNotExist(err):
		t.Fatal(err)
	}
	if rand.IntN(2) == 0 {
		f, err := os.OpenFile(path, os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func TestEachMessageIsInOneOfTheRotatedFilesOnceHoweverOftenTheConsumerIsKilled(t *testing.T) {
	b := serveReplay(t)
	path := filepath.Join(t.TempDir(), "orders.txt")
	begin := func(args ...string) *process {
		p := command(t, append([]string{"-port", b.port, "-topic", "orders", "-f", `%s\n`, "-out", path}, args...)...)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	rotated, torn := 0, 0
	for range 15 {
		p := begin("-follow")
		for range rand.IntN(4) {
			next := b.sent.Load() + rand.Int64N(2000)
			await(t, func() bool { return b.sent.Load() >= next || b.complete.Load() })
			rotate(t, path, &rotated)
			if rand.IntN(2) == 0 {
				_ = p.Process.Signal(syscall.SIGHUP)
			}
		}
		next := b.sent.Load() + rand.Int64N(6000)
		await(t, func() bool { return b.sent.Load() >= next || b.complete.Load() })
		_ = p.Process.Kill()
		_ = p.Wait()
		if p.ProcessState.Exited() && p.ProcessState.ExitCode() != -1 {
			t.Fatalf("the consumer has ended by itself: %s", p.stderr.String())
		}
		if _, err := os.Stat(path); err == nil && tornNow(t, path) {
			torn++
		}
		if rand.IntN(2) == 0 {
			rotate(t, path, &rotated)
		}
	}
	t.Logf("%d rotations, %d kills with bytes that are cut off", rotated, torn)
	p := begin()
	if code := p.finish(); code != 0 {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
	all := ""
	for n := range rotated {
		all += read(t, fmt.Sprintf("%s.%d", path, n+1))
	}
	checkOnce(t, all+read(t, path))
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
func checkOnce(t *testing.T, all string) {
	t.Helper()
	var next [partitions]int
	for line := range bytes.Lines([]byte(all)) {
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
