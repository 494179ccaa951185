package tcpserver_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// pair is the two ends of a connection.
func pair(t *testing.T) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

func TestWhatTheOtherSystemHasTakenIsTold(t *testing.T) {
	const greeting = "taken by its system"
	here, there := pair(t)
	mustSay := func(what string, holds func(n int) bool) {
		t.Helper()
		brokertest.Await(t, time.Minute, what, func() bool {
			n, err := tcpserver.Unacknowledged(here)
			if err != nil {
				t.Fatal(err)
			}
			return holds(n)
		})
	}
	if _, err := here.Write([]byte(greeting)); err != nil {
		t.Fatal(err)
	}
	mustSay("all is taken", func(n int) bool { return n == 0 })
	here.SetWriteDeadline(time.Now().Add(time.Second))
	written, err := here.Write(make([]byte, 128<<20)) // more than systems take
	if err == nil {
		t.Fatal("it takes everything")
	}
	mustSay("something waits", func(n int) bool { return n > 0 && n < written })
	go io.Copy(io.Discard, there)
	mustSay("all is taken", func(n int) bool { return n == 0 })
	taken, err := tcpserver.Acknowledged(here)
	if want := uint64(written + len(greeting)); err != nil || taken != want && taken != want+1 { // the SYN may count
		t.Errorf("%d bytes are acknowledged, %v; %d were written", taken, err, want)
	}
}

func TestAResetIsTold(t *testing.T) {
	here, there := pair(t)
	there.SetLinger(0)
	there.Close()
	brokertest.Await(t, time.Minute, "the reset is told", func() bool {
		_, err := tcpserver.Unacknowledged(here)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		return err != nil
	})
}
