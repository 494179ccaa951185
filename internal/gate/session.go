package gate

import (
	"errors"
	"io"
	"time"

	"mbus/internal/tcpserver"
)

// A session is one owner's connection to a client. It is the other end of a Pipe.
type session struct {
	client *client
	pipe   *tcpserver.Pipe

	// Guarded by the client's mu.
	keptSent int  // bytes of what the exchange has kept that are sent again
	over     bool // the owner has closed it, or there is none
	err      error
}

// newSession has an owner serve the client. The caller holds mu.
func newSession(c *client) *session {
	s := &session{client: c}
	s.pipe = tcpserver.NewPipe(c.conn, s)
	go func() {
		err := c.gate.o.Lead(s.pipe)
		if err == nil {
			<-s.pipe.Over()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		s.over, s.err = true, err
		c.wakeReader()
	}()
	return s
}

// Ready implements tcpserver.PipeEnd.
func (s *session) Ready() bool {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s || c.exchange == nil {
		return false
	}
	return s.keptSent < len(c.exchange.kept) || c.given > 0 || c.over == io.EOF
}

// Read implements tcpserver.PipeEnd.
func (s *session) Read(p []byte) (n int, err error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.exchange
	if c.session != s || x == nil {
		return 0, io.EOF
	}
	if s.keptSent < len(x.kept) {
		n = copy(p, x.kept[s.keptSent:])
		s.keptSent += n
		return n, nil
	}
	if c.given == 0 {
		return 0, io.EOF
	}
	n = copy(p, c.in[:c.given])
	x.keep(p[:n])
	s.keptSent = len(x.kept)
	c.in, c.given = c.in[n:], c.given-n
	c.changed.Broadcast()
	return n, nil
}

// Write implements tcpserver.PipeEnd.
func (s *session) Write(p []byte, within time.Duration) (n int, err error) {
	for n < len(p) {
		some, err := s.writeSome(p[n:], within)
		if n += some; err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeSome writes a part of the answer, such as its head.
func (s *session) writeSome(p []byte, within time.Duration) (int, error) {
	c := s.client
	c.mu.Lock()
	x := c.exchange
	if c.session != s || x == nil || x.done || x.failed {
		c.mu.Unlock()
		return len(p), nil // nobody has asked for it
	}
	if !x.began && x.holds == nil {
		n, write := x.readHead(p)
		return n, s.end(x, write)
	}
	next := x.answer
	n, err := next.take(p)
	if err != nil {
		x.failed = true
		return len(p), s.end(x, nil)
	}
	if x.holds != nil {
		x.answer = next
		x.holds = append(x.holds, p[:n]...)
		return n, s.endHeld(x)
	}
	c.mu.Unlock()
	n, err = c.conn.Write(p[:n], within)
	c.mu.Lock()
	_, _ = x.answer.take(p[:n])
	return n, errors.Join(err, s.end(x, nil))
}

// end writes bytes to the client, and then notes the end of the answer. The caller holds the client's mu, which it releases.
func (s *session) end(x *exchange, write []byte) (err error) {
	c := s.client
	if len(write) > 0 {
		c.mu.Unlock()
		_, err = c.conn.WriteAll(c.gate.o.Limits.WriteTime, write)
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if x.done = x.began && x.answer.ended; x.done || x.failed {
		c.wakeReader()
	}
	return err
}

// endHeld decides about an answer that was held, when it is whole. The caller holds the client's mu, which it releases.
func (s *session) endHeld(x *exchange) error {
	if !x.answer.ended {
		s.client.mu.Unlock()
		return nil
	}
	if isMoved(x.holds) && x.mayRetry() {
		s.over = true // there is another one for the request
		x.restart()
		s.client.session = nil
		s.pipe.Fail(errAgain)
		s.client.wakeReader()
		s.client.mu.Unlock()
		return nil
	}
	write := x.holds
	x.holds, x.began = nil, true
	return s.end(x, write)
}

// Admitted implements tcpserver.PipeEnd.
func (s *session) Admitted() {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admitted = true
}
