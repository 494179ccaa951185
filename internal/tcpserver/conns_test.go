package tcpserver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/turns"
	"mbus/test/brokertest"
)

func TestConnectionsBeyondTheLimitGetAnAnswerAndTheOthersGoOn(t *testing.T) {
	overBoth(t, func(r *rig) {
		var conns []Conn
		var peers []*peer
		for range 10 { // as many as there may be
			c, p := r.connect()
			conns, peers = append(conns, c), append(peers, p)
		}
		for range 3 {
			p := r.dial(net.Dialer{})
			if text, err := io.ReadAll(p); string(text) != "too many connections\n" || err != nil {
				r.Fatalf("%q, %v", text, err)
			}
			p.Close()
		}
		for i, c := range conns {
			r.write(c, stream)
			r.mustRead(peers[i], stream)
		}
		if n := len(r.book.Lines("level=WARN", "too many connections", "limit=10")); n != 1 {
			r.Errorf("it is logged %d times", n)
		}
	})
}

// halfHandshakes are those of programs that send nothing, or stop in the middle.
var halfHandshakes = []string{"", "\x16\x03\x01\x02\x00\x01\x00", "\x16\x03"}

// anyTurns has handshakes take any processor time, one at a time.
func anyTurns(t *testing.T) {
	before := handshakes
	t.Cleanup(func() { handshakes = before })
	handshakes = turns.NewFor(1, 1)
}

// A handshake that waits for its peer holds up nobody: the only turn is free for others.
func TestAHandshakeThatDoesNotComeHoldsUpNobody(t *testing.T) {
	const each, rounds = 7, 5000
	anyTurns(t)
	r := newRig(t, true, 100, never)
	first, p := r.connect()
	var stalled []*net.TCPConn
	for _, text := range halfHandshakes {
		for range each {
			conn := r.plain("")
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, conn.(*net.TCPConn))
		}
	}
	brokertest.Await(t, bound, "all are accepted", func() bool { return r.conns.arrivals() == len(stalled) })
	for n := 0; handshakes.Running() > 0 || !r.haveRead(stalled, ""); n++ {
		if n == rounds { // in which each goroutine has gone on many times
			t.Fatal("a handshake that waits has a turn")
		}
		r.write(first, stream)
		r.mustRead(p, stream)
	}
	c, p := r.connect()
	r.write(c, stream)
	r.mustRead(p, stream)
}

// A handshake that does not come ends by its time.
func TestAHandshakeThatDoesNotComeEnds(t *testing.T) {
	r := newRig(t, true, 100, 4*moment)
	var stalled []net.Conn
	for _, text := range halfHandshakes {
		stalled = append(stalled, r.plain(text))
	}
	for _, conn := range stalled {
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			r.Fatal("it does not end")
		}
	}
}

func TestGarbageInsteadOfAHandshakeCostsNothing(t *testing.T) {
	r := newRig(t, true, 100, never)
	c, p := r.connect()
	goroutines := runtime.NumGoroutine()
	for _, text := range []string{
		"\x16orders\n", "\x16GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x16", 1<<16), "\x16\x2e\x01\x03\x01",
		"\x16\x03\x01\xff\xff" + strings.Repeat("x", 1<<16), "\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
		"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", "\x16\x03\x01\x00\x00\x15\x03\x03\x00\x02\x02\x28",
	} {
		for range 5 {
			conn := r.plain(text)
			if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
				r.Fatalf("%.10q: it does not end", text)
			}
			conn.Close()
		}
	}
	r.write(c, stream) // others go on
	r.mustRead(p, stream)
	brokertest.Await(r, bound, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if lines := r.book.Lines("level=WARN"); len(lines) > 0 {
		r.Errorf("it warns: %q", lines)
	}
}

func TestStopDoesNotWaitForAHandshake(t *testing.T) {
	r := newRig(t, true, 100, never)
	for _, text := range []string{"", "\x16\x03\x01"} {
		r.plain(text)
	}
	brokertest.Await(r, bound, "both are accepted", func() bool {
		return r.conns.arrivals() == 2
	})
	r.stop()
}

// arrivals is the number of connections whose handshake goes on.
func (s *Conns[C]) arrivals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.arriving)
}

// plain connects without TLS and sends text.
func (r *rig) plain(text string) net.Conn {
	r.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(bound))
	go io.WriteString(conn, text) // fails where the server has seen enough
	return conn
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// A peer that has the server answer again and again, and reads nothing, is given up.
func TestRecordsThatNobodyWaitsForAreBounded(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, _ := r.narrow()
	records := &c.(*tlsConn).records
	for sent := 0; sent < 16<<20; sent += 1000 {
		if _, err := records.Write(make([]byte, 1000)); err != nil {
			if !errors.Is(err, syscall.ENOBUFS) || records.len() > maxKept {
				t.Errorf("%d bytes are kept, %v", records.len(), err)
			}
			return
		}
	}
	t.Error(fmt.Sprint(records.len(), " bytes are kept"))
}
