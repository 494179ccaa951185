package tcpserver

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A scripted end of a Pipe gives text, and then io.EOF if it ends.
type scripted struct {
	mu       sync.Mutex // guards what follows
	text     string
	ends     bool
	got      string
	admitted bool
}

func (s *scripted) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text != "" || s.ends
}

func (s *scripted) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p, s.text)
	s.text = s.text[n:]
	return n, nil
}

func (s *scripted) Write(p []byte, _ time.Duration) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got += string(p)
	return len(p), nil
}

func (s *scripted) Admitted() { s.change(func() { s.admitted = true }) }

func (s *scripted) change(by func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	by()
}

func (s *scripted) has(text string) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.got == text
	}
}

// piped is a Pipe in place of a connection of a rig.
func piped(t *testing.T) (*rig, Conn, *Pipe, *scripted) {
	r := newRig(t, false, 10, 0)
	c, _ := r.connect()
	end := new(scripted)
	return r, c, NewPipe(c, end), end
}

// A server reads what the other end gives, when there is something, and the other end gets what is written.
func TestAPipeIsAConnectionOfItsClient(t *testing.T) {
	_, c, p, end := piped(t)
	if p.RemoteAddrPort() != c.RemoteAddrPort() || p.LocalAddrPort() != c.LocalAddrPort() || p.IsPrivate() != c.IsPrivate() {
		t.Error("it has other addresses")
	}
	read := make(chan string)
	go func() {
		text, err := io.ReadAll(p)
		if err != nil {
			t.Error(err)
		}
		read <- string(text)
	}()
	for _, text := range []string{"one ", "two"} {
		end.change(func() { end.text = text })
		p.Wake()
		brokertest.Await(t, bound, "it is read", func() bool { end.mu.Lock(); defer end.mu.Unlock(); return end.text == "" })
	}
	end.change(func() { end.ends = true })
	p.Wake()
	if got := <-read; got != "one two" {
		t.Errorf("it reads %q", got)
	}
	if _, err := p.WriteAll(time.Minute, []byte("an "), []byte("answer")); err != nil || !end.has("an answer")() {
		t.Errorf("%v, %q", err, end.got)
	}
	if left, err := p.PeerClosed(); !left || err != nil {
		t.Error(left, err)
	}
	p.Close()
	<-p.Over()
	if !p.InOrder() {
		t.Error("it is not closed in good order")
	}
	if _, err := c.Write([]byte("x"), time.Minute); err != nil {
		t.Errorf("the client's connection is closed with it: %v", err)
	}
}

// Deadlines, interruptions, losses and closes end a read that waits.
func TestAReadOfAPipeEnds(t *testing.T) {
	for name, of := range map[string]struct {
		by   func(*Pipe)
		want error
	}{
		"deadline":  {func(p *Pipe) { p.SetReadDeadline(time.Now().Add(moment)) }, os.ErrDeadlineExceeded},
		"interrupt": {(*Pipe).Interrupt, os.ErrDeadlineExceeded},
		"loss":      {func(p *Pipe) { p.Fail(syscall.ECONNRESET) }, syscall.ECONNRESET},
		"close":     {func(p *Pipe) { p.Close() }, nil},
		"end":       {func(p *Pipe) { p.CloseWrite() }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, p, _ := piped(t)
			read := make(chan error)
			go func() {
				_, err := p.Read(make([]byte, 1))
				read <- err
			}()
			of.by(p)
			if err := <-read; of.want != nil && !errors.Is(err, of.want) || err == nil {
				t.Errorf("it ends with %v", err)
			}
			if name == "interrupt" {
				p.Resume(time.Now().Add(-1))
				if !errors.Is(errOf(p), os.ErrDeadlineExceeded) || p.IsInterrupted() {
					t.Error("it is not resumed")
				}
			}
			p.Abort()
			if _, err := p.Write([]byte("x"), time.Minute); err == nil {
				t.Error("it is written to")
			}
		})
	}
}

func errOf(p *Pipe) error {
	_, err := p.Read(make([]byte, 1))
	return err
}

// A Pipe is served as its client: by a server of this process, and by another node, which tells it of the log-in. It ends
// with them.
func TestAPipeIsServed(t *testing.T) {
	for _, far := range []bool{false, true} {
		r, c, p, end := piped(t)
		server := newRig(t, false, 10, 0)
		if far {
			server = newLinkedRig(t, false, Limits{Connections: 10, Handshake: bound})
		}
		d := NewDispatcher(r.conns.log, DispatcherOptions{Port: "test", Limits: Limits{Connections: 10}})
		target := Target{Take: func(c Conn) bool { server.take(c); return true }}
		if far {
			target = Target{Owner: server.link.address}
		}
		d.Set(target)
		led := make(chan error)
		go func() { led <- d.Lead(p) }()
		served := <-server.accepted
		if served.RemoteAddrPort() != c.RemoteAddrPort() {
			t.Errorf("it serves %s", served.RemoteAddrPort())
		}
		server.conns.Admitted(served)
		brokertest.Await(t, bound, "the log-in is known", func() bool { end.mu.Lock(); defer end.mu.Unlock(); return end.admitted })
		end.change(func() { end.text, end.ends = stream, true })
		p.Wake()
		if text, err := io.ReadAll(served); string(text) != stream || err != nil {
			t.Errorf("it reads %q, %v", text, err)
		}
		server.write(served, "answer")
		brokertest.Await(t, bound, "the answer has come", end.has("answer"))
		served.Close()
		<-p.Over()
		if !p.InOrder() {
			t.Error("it is not closed in good order")
		}
		if err := <-led; err != nil {
			t.Error(err)
		}
		d.Stop()
		if err := d.Lead(p); err != ErrStopped {
			t.Error(err)
		}
	}
}
