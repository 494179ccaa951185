package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// F35: thousands of connections that do nothing, or send a byte now and then: those
// beyond the limit get an error, or are closed by Kafka's port, and those who were there
// before go on; when the crowd has gone there is room again.
func TestF35SlowConnections(t *testing.T) { overEach(t, attackBySlowConnections) }

func attackBySlowConnections(t *testing.T, over transport) {
	limit := over.runs(200, 200)
	s := over.besiege(t, "-max-connections", strconv.Itoa(limit))
	s.full = true
	n := over.runs(500, 5000)
	var early *lineConn
	s.attackAtLimit(t, func() {
		var err error
		if early, err = s.dialFriend(s.Producers(), "early"); err != nil {
			t.Fatal(err)
		}
		defer early.Close()
		for _, p := range append(s.ports(), s.httpPort()) {
			crowd := s.crowd(t, n, p.name, "")
			s.drip(t, p, crowd, n-limit)
			if _, err := exchangeOne(early, p.name); err != nil {
				t.Errorf("who was there before is harmed: %v", err)
			}
			hangUp(crowd)
			s.bystandWhenThereIsRoom(t)
		}
	})
	if warnings := strings.Count(s.Output(), "too many connections"); warnings == 0 || warnings > 3*n/10 {
		t.Errorf("it is logged %d times", warnings)
	}
	s.end(t)
}

// attackAtLimit is attack without bystanders, who would find no room.
func (s *siege) attackAtLimit(t *testing.T, f func()) {
	t.Helper()
	s.resetPeak()
	before := s.memory("VmRSS")
	f()
	s.mustLetGo(t)
	if took := s.memory("VmHWM") - before; took > memoryOf(calm) {
		t.Errorf("the broker took %d KiB more than before", took>>10)
	}
}

// bystandWhenThereIsRoom waits until the broker has seen that a crowd is gone.
func (s *siege) bystandWhenThereIsRoom(t *testing.T) {
	t.Helper()
	eventually(t, "there is room again", func() bool { return s.openFiles() <= s.files+1 })
	c := s.bystand(func() {})
	report(t, c)
	c.mustKeep(t)
}

// drip sends a byte on each of a crowd's connections, and waits until so many of
// them, or more, have been refused.
func (s *siege) drip(t *testing.T, p port, crowd []net.Conn, refused int) {
	t.Helper()
	for _, conn := range crowd {
		if conn != nil {
			io.WriteString(conn, "x") // fails if it has been refused
		}
	}
	waiting := slices.Clone(crowd)
	eventually(t, fmt.Sprintf("%d of %d connections to the %s port are refused", refused, len(crowd), p.name), func() bool {
		waiting = slices.DeleteFunc(waiting, func(conn net.Conn) bool { return isRefused(t, p, conn) })
		return len(crowd)-len(waiting) >= refused
	})
}

// isRefused reports whether a connection's refusal has come: words, or its end.
func isRefused(t *testing.T, p port, conn net.Conn) bool {
	t.Helper()
	if conn == nil {
		return true
	}
	conn.SetReadDeadline(time.Now().Add(time.Millisecond)) // of a refusal that is there already
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	if words := string(answer[:n]); n > 0 && !strings.HasPrefix(words, "-BUSY ") && (p.name != "http" || !strings.HasPrefix(words, "HTTP/1.1 503 ")) {
		t.Errorf("the %s port answers %q", p.name, answer[:n])
	}
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// exchangeOne publishes a message and waits until it is acknowledged.
func exchangeOne(c *lineConn, message string) (string, error) {
	if _, err := io.WriteString(c, message+"\n"); err != nil {
		return "", err
	}
	return c.line()
}

// F35: clients that connect and leave at once, in each way, as fast as they can.
func TestF35Connects(t *testing.T) { overEach(t, attackWithConnects) }

func attackWithConnects(t *testing.T, over transport) {
	s := over.besiege(t)
	n := over.runs(3000, 150_000)
	begun := time.Now()
	s.attack(t, calm, func() {
		ports := append(s.ports(), s.httpPort())
		sideBySide(n, 16, func(i int) {
			conn, err := s.dialFrom(i, ports[i%4].address)
			if err != nil {
				t.Error(err)
				return
			}
			switch i / 4 % 4 {
			case 0:
			case 1:
				conn.SetLinger(0)
			case 2:
				io.WriteString(conn, "connects\nhalf")
				conn.SetLinger(0)
			case 3:
				io.WriteString(conn, "connects\n")
			}
			conn.Close()
		})
	})
	t.Logf("%.0f connects a minute", float64(n)/time.Since(begun).Minutes())
	report(t, tally{Runs: n})
	s.end(t)
}

// idleBound is what an idle connection may take of the broker's memory, in bytes.
const idleBound = 24 << 10

// F35: idle connections of all kinds, each of which has done some work before.
func TestF35IdleConnections(t *testing.T) { overUsers(t, attackWithIdleConnections) }

func attackWithIdleConnections(t *testing.T, over transport) {
	n := min(over.runs(2000, 50_000), mayOpen(t)-1000)
	s := over.besiege(t, "-max-connections", "100000")
	s.Publish("idle", "first")
	before := s.memory("VmRSS")
	conns := make([]net.Conn, n)
	defer func() { hangUp(conns) }()
	sideBySide(n, 64, func(i int) {
		var err error
		if conns[i], err = s.idler(i); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	})
	s.mustHold(t, n)
	each := (s.memory("VmRSS") - before) / int64(n)
	t.Logf("%d idle connections take %d bytes each", n, each)
	if each > memoryOf(over.memory(1, idleBound)) {
		t.Errorf("each of %d idle connections takes %d bytes", n, each)
	}
	c := s.bystand(func() {})
	c.mustKeep(t)
	report(t, c)
	hangUp(conns)
	s.Publish("idle", "followers that are gone are seen when they are written to")
	s.end(t)
}

// idler makes a producer, a follower, a Kafka client or a publisher over HTTP that has been answered
// once.
func (s *siege) idler(i int) (net.Conn, error) {
	switch i % 4 {
	case 0:
		return s.idleLine(i, s.Producers(), "idle\nmessage\n")
	case 1:
		return s.idleLine(i, s.Consumers(), "idle?follow&from=0\n")
	case 2:
		return s.idleLine(i, s.HTTP(), "POST /topics/idle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nm")
	}
	conn, err := s.dialFrom(i, s.Kafka())
	if err != nil {
		return nil, err
	}
	_, err = (&kafkaConn{Conn: conn}).ask(kmsg.NewPtrMetadataRequest())
	return conn, err
}

func (s *siege) idleLine(i int, address, text string) (net.Conn, error) {
	conn, err := s.dialFrom(i, address)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return conn, err
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	_, err = bufio.NewReaderSize(conn, 16).ReadString('\n')
	return conn, err
}

// mayOpen raises the number of files that this process, and the brokers that it
// starts, may open, and returns it.
func mayOpen(t *testing.T) int {
	t.Helper()
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if wanted := (syscall.Rlimit{Cur: 120_000, Max: 120_000}); r.Max < wanted.Max && syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) == nil {
		r = wanted // as root
	}
	return int(min(r.Max, 1<<20))
}
