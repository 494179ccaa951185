package relay

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"mbus/internal/tcpserver"
)

// A session is one owner's connection to a client. It is the other end of a Pipe.
type session struct {
	client *client
	pipe   *tcpserver.Pipe

	// Guarded by the client's mu.
	headSent int    // bytes of the client's head
	began    bool   // the line of the request is made
	text     []byte // what is to be sent of it
	sent     uint64 // offset in the backlog of what is to be sent next
	useful   bool   // the client has logged in, or something was acknowledged

	answering sync.Mutex // guards what follows
	answer    []byte     // the beginning of a line
	refusal   []byte     // the line with the error
	passes    bool       // answers are passed on as they are
}

// serve leads the client through its sessions.
func (c *client) serve() {
	for pause := c.relay.times.firstPause; ; {
		s := c.begin()
		if s == nil {
			return
		}
		err := c.relay.o.Lead(s.pipe)
		if err == nil {
			<-s.pipe.Over()
		}
		if c.end(s, err) {
			return
		}
		if s.useful {
			pause = c.relay.times.firstPause
		}
		c.rest(pause)
		pause = min(2*pause, c.relay.times.lastPause)
	}
}

// begin begins a session; it is nil if there is none any more.
func (c *client) begin() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done || c.isLost() {
		return nil
	}
	s := &session{client: c}
	s.pipe = tcpserver.NewPipe(c.conn, s)
	c.session = s
	c.settle()
	return s
}

// rest waits before the next session.
func (c *client) rest(pause time.Duration) {
	rested := false
	t := time.AfterFunc(pause, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		rested = true
		c.changed.Broadcast()
	})
	defer t.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.done && !rested {
		c.changed.Wait()
	}
}

// end decides what follows a session, of which err says why it was not led: nothing, or the next.
func (c *client) end(s *session, err error) (done bool) {
	s.answering.Lock()
	refusal, passes := s.refusal, s.passes
	s.answering.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
	switch {
	case c.done:
	case c.isLost():
		c.done = true
	case refusal != nil && !c.isPassing(refusal):
		c.finish(refusal)
	case err == nil && (c.passes || passes):
		c.finish(nil)
		c.inOrder = s.pipe.InOrder()
	case err == tcpserver.ErrStopped, c.over == errStopping && !c.log.hasMessage():
		c.finish([]byte(c.relay.o.Refusal(tcpserver.ErrStopped)))
	case err != nil && !c.admitted, c.waits() && time.Since(c.since) >= c.relay.times.patience:
		c.finish([]byte(c.relay.o.Refusal(tcpserver.ErrNoOwner)))
	case c.over == io.EOF && s.pipe.InOrder() && c.log.isEmpty():
		c.finish(nil)
	}
	return c.done
}

// isLost says whether the client is gone, or is to be. The caller holds mu.
func (c *client) isLost() bool { return c.over != nil && c.over != io.EOF && c.over != errStopping }

// waits says whether the client waits for an owner. The caller holds mu.
func (c *client) waits() bool { return c.over != nil || !c.log.isEmpty() }

// isPassing says whether an owner's error line is about that owner alone: the next may serve the client. The caller holds mu.
func (c *client) isPassing(line []byte) bool {
	code, _, _ := bytes.Cut(line, []byte(" "))
	switch string(code) {
	case "-SHUTDOWN":
		return true
	case "-REPLACED": // by a later session of this client, or because an earlier one comes late
		return c.request != nil && c.request.isOwn
	}
	return false
}

// Ready implements tcpserver.PipeEnd.
func (s *session) Ready() bool {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.prepare()
	return s.headSent < len(c.head) || len(s.text) > 0 || s.began && s.sent < c.log.end || c.over == io.EOF
}

// prepare makes the line of the request when that has come. The caller holds the client's mu.
func (s *session) prepare() {
	c := s.client
	if s.began || c.isHead() {
		return
	}
	s.began, s.sent = true, c.log.start
	if c.request != nil {
		s.text = c.request.text(c.log.next(), c.request.isNew && !c.sent)
	}
}

// Read implements tcpserver.PipeEnd.
func (s *session) Read(p []byte) (n int, err error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.prepare()
	n = copy(p, c.head[s.headSent:])
	s.headSent += n
	some := copy(p[n:], s.text)
	s.text = s.text[some:]
	n += some
	if s.began && len(s.text) == 0 && n < len(p) {
		some = c.log.from(s.sent, p[n:])
		n, s.sent = n+some, s.sent+uint64(some)
		c.sent = c.sent || some > 0
		if c.passes {
			c.log.start = s.sent
			c.log.cut()
		}
		c.changed.Broadcast()
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// maxAnswer bounds a line of an answer, in bytes.
const maxAnswer = 16 << 10

// Write implements tcpserver.PipeEnd.
func (s *session) Write(p []byte, within time.Duration) (int, error) {
	if err := s.take(p, within); err != nil {
		return 0, err
	}
	return len(p), nil
}

// take takes a part of an answer.
func (s *session) take(p []byte, within time.Duration) error {
	s.answering.Lock()
	defer s.answering.Unlock()
	c := s.client
	c.mu.Lock()
	passes := c.passes
	isOld := c.session != s
	c.mu.Unlock()
	if isOld {
		return errServed
	}
	if s.passes = s.passes || passes; !s.passes {
		s.answer = append(s.answer, p...)
		p = nil
		if s.answer[0] != '+' && s.answer[0] != '-' || len(s.answer) > maxAnswer { // for a client of another protocol
			p, s.answer, s.passes = s.answer, nil, true
		}
	}
	if s.passes {
		_, err := c.conn.WriteAll(within, p)
		return err
	}
	return s.readAnswers()
}

// readAnswers takes the whole lines of the answer.
func (s *session) readAnswers() error {
	for {
		end := bytes.IndexByte(s.answer, '\n') + 1
		switch {
		case end == 0:
			return nil
		case s.answer[0] == '-':
			s.refusal = s.answer[:end:end]
			s.answer = s.answer[end:]
			return nil // the last line
		}
		n, err := strconv.ParseUint(string(s.answer[1:end-1]), 10, 64)
		if err != nil {
			return errAnswer
		}
		s.answer = append(s.answer[:0], s.answer[end:]...)
		if err := s.client.acked(s, n); err != nil {
			return err
		}
	}
}

// errAnswer is for an answer that no owner gives.
var errAnswer = errors.New("the answer can't be read")

// acked says that the owner has all messages up to a number.
func (c *client) acked(s *session, number uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return errServed
	}
	before := c.log.acked
	if err := c.log.ack(number); err != nil {
		return err
	}
	if c.log.acked > before {
		s.useful, c.since = true, time.Now()
	}
	c.tell()
	c.settle()
	c.changed.Broadcast()
	return nil
}

// Admitted implements tcpserver.PipeEnd.
func (s *session) Admitted() {
	c := s.client
	c.relay.conns.Admitted(c.conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admitted, s.useful = true, true
	c.changed.Broadcast()
}
