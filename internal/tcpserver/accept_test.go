package tcpserver

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
)

// A failing listener has so many failures, then a connection, and again, for each of
// its list; then it is closed.
type failing struct {
	net.Listener
	failures []int
}

func (l *failing) Accept() (net.Conn, error) {
	switch {
	case len(l.failures) == 0:
		return nil, net.ErrClosed
	case l.failures[0] == 0:
		l.failures = l.failures[1:]
		ours, _ := net.Pipe()
		return ours, nil
	}
	l.failures[0]--
	return nil, errors.Join(errors.New("accept"), syscall.EMFILE)
}

func (*failing) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9990} }

func TestConnectionsThatCanNotBeTakenAreLoggedOnceAndThatTheyAreAgain(t *testing.T) {
	var log bytes.Buffer
	taken := 0
	l := &failing{failures: []int{0, 5, 0, 3}}
	each(l.Accept, l.Addr(), slog.New(slog.NewTextHandler(&log, nil)), func(c net.Conn) {
		taken++
		c.Close()
	})
	if taken != 4 {
		t.Errorf("%d connections taken", taken)
	}
	text := log.String()
	if w, i := strings.Count(text, "level=WARN"), strings.Count(text, "level=INFO"); w != 2 || i != 2 {
		t.Errorf("%d warnings, %d notes:\n%s", w, i, text)
	}
	if !strings.Contains(text, "127.0.0.1:9990") || !strings.Contains(text, "too many open files") {
		t.Errorf("log: %s", text)
	}
}
