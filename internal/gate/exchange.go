package gate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"mbus/internal/tcpserver"
)

// An exchange is a request and its answer.
type exchange struct {
	client  *client
	request *http.Request
	since   time.Time // when its head had come

	body   body // of the request, whose rest has not come
	isSent bool // it may be that an owner has read something of it
	again  bool // it may be sent again
	kept   []byte
	taken  int // bytes of the budget, for kept

	head   []byte // of the answer, as far as it has come
	began  bool   // the client has a part of the answer
	answer body
	holds  []byte // the answer, where it may be that the request is sent again in place of it
	done   bool   // the answer has ended
	closes bool   // and the connection is to end behind it
	failed bool   // the answer can't be read
}

// Requests that may be sent again are kept, up to so many bytes. A client that has not logged in may have less.
const (
	maxKept        = 1 << 20
	maxKeptWaiting = 64 << 10
)

// headerOnce is the header with an idempotency key.
const headerOnce = "Idempotency-Key"

// mayComeAgain says whether it is well if an owner gets a request twice.
func mayComeAgain(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.ContentLength == 0 && len(r.TransferEncoding) == 0
	case http.MethodPost:
		path, isTopic := strings.CutPrefix(r.URL.Path, "/topics/")
		return isTopic && !strings.Contains(path, "/") && r.Header.Get(headerOnce) != ""
	}
	return false
}

// carry has an owner answer a request.
func (c *client) carry(r *http.Request, head int) error {
	x := &exchange{client: c, request: r, since: time.Now(), body: requestBody(r), again: mayComeAgain(r)}
	c.mu.Lock()
	c.exchange, c.given = x, head
	c.advance()
	c.mu.Unlock()
	err := x.run()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchange, c.given = nil, 0
	x.forget()
	if len(c.in) == 0 {
		c.in = nil
	}
	if err == nil && c.gate.stopping.Load() && c.over == nil {
		c.over = errStopping
	}
	return err
}

// run leads a request to its end, by one session or more.
func (x *exchange) run() error {
	c := x.client
	for {
		s := c.begin()
		err := x.follow(s)
		if err != errAgain {
			return err
		}
		time.Sleep(c.gate.times.pause)
	}
}

// errAgain says that a request is to be sent again.
var errAgain = errors.New("once more")

// begin is the session of the request: the one before goes on, or there is a new one.
func (c *client) begin() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.session; s != nil && !s.over {
		return s
	}
	c.session = newSession(c)
	return c.session
}

// follow reads of the client until the exchange has ended.
func (x *exchange) follow(s *session) error {
	c := x.client
	for {
		c.mu.Lock()
		for len(c.in) >= maxIn && !x.isOver(s) && c.over == nil {
			c.changed.Wait()
		}
		isOver, over := x.isOver(s), c.over
		for over == io.EOF && !isOver { // the client waits for the answer
			c.changed.Wait()
			isOver, over = x.isOver(s), c.over
		}
		c.mu.Unlock()
		switch {
		case isOver:
			return x.outcome(s)
		case over != nil:
			return over
		}
		if err := c.read(func() bool { return x.isOver(s) }); err != nil && err != io.EOF {
			return err
		}
	}
}

// isOver says whether nothing more comes of a session for the exchange. The caller holds the client's mu.
func (x *exchange) isOver(s *session) bool {
	return s.over || x.failed || x.done && (x.body.ended || x.closes)
}

// outcome says what follows: nil for the next request of the client.
func (x *exchange) outcome(s *session) error {
	c := x.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over && c.session == s {
		c.session = nil
	}
	switch {
	case x.failed:
		return errCut
	case x.done && x.closes, s.over && x.answer.kind == bodyToEnd && x.began && s.pipe.InOrder():
		return errDone
	case x.done && x.body.ended:
		return nil
	case x.began:
		return errCut // the answer is not whole
	case s.err == nil && x.mayRetry():
		x.restart()
		return errAgain
	case s.err != nil && !errors.Is(s.err, tcpserver.ErrNotTaken) && (!x.isSent || x.again):
		c.gate.refuseLater(c, s.err)
		return errDone
	}
	return errCut
}

// mayRetry says whether the request is sent again. The caller holds the client's mu.
func (x *exchange) mayRetry() bool {
	isFresh := time.Since(x.since) < x.client.gate.times.patience
	return isFresh && (!x.isSent || x.again) && x.client.over == nil
}

// restart forgets what an owner has answered. The caller holds the client's mu.
func (x *exchange) restart() {
	x.head, x.holds, x.answer, x.done, x.closes = nil, nil, body{}, false, false
}

// refuseLater answers that there is no owner. The caller holds the client's mu.
func (g *Gate) refuseLater(c *client, err error) {
	c.mu.Unlock()
	defer c.mu.Lock()
	c.refuse(err)
}

// advance finds what has come of the request. The caller holds mu.
func (c *client) advance() {
	x := c.exchange
	if x == nil {
		return
	}
	n, err := x.body.take(c.in[c.given:])
	if c.given += n; err != nil { // the owner's server says what is wrong
		c.given = len(c.in)
	}
	c.wake()
}

// keep keeps bytes of the request that an owner reads, if it may be sent again. The caller holds the client's mu.
func (x *exchange) keep(p []byte) {
	x.isSent = true
	if !x.again {
		return
	}
	most := maxKeptWaiting
	if x.client.admitted {
		most = maxKept
	}
	size := len(x.kept) + len(p)
	if more := size - x.taken; size > most || size > maxKeptWaiting && more > 0 && !x.take(size) {
		x.again = false
		x.forget()
		return
	}
	x.kept = append(x.kept, p...)
}

// take takes memory for so many bytes, and as many again, from the budget.
func (x *exchange) take(size int) bool {
	if !x.client.gate.memory.Take(2*size - x.taken) {
		return false
	}
	x.taken = 2 * size
	return true
}

// forget forgets what was kept. The caller holds the client's mu.
func (x *exchange) forget() {
	x.client.gate.memory.Give(x.taken)
	x.kept, x.taken = nil, 0
}

// maxAnswerHead bounds the head of an answer, and an answer that is held, in bytes.
const maxAnswerHead = 64 << 10

// readHead takes bytes of the head of the answer, and says how many, and what is to be written now. The caller holds the client's mu.
func (x *exchange) readHead(p []byte) (n int, write []byte) {
	before := len(x.head)
	x.head = append(x.head, p...)
	end := headLength(x.head)
	if end == 0 {
		x.failed = len(x.head) > maxAnswerHead
		return len(p), nil
	}
	head := x.head[:end]
	x.head = nil
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), x.request)
	if err != nil {
		x.failed = true
		return len(p), nil
	}
	switch {
	case r.StatusCode == http.StatusSwitchingProtocols:
		x.failed = true
		return len(p), nil
	case r.StatusCode < http.StatusOK:
		return end - before, head
	}
	x.closes = r.Close
	x.answer = bodyOf(r.ContentLength, r.TransferEncoding, true)
	if x.request.Method == http.MethodHead || r.StatusCode == http.StatusNoContent || r.StatusCode == http.StatusNotModified {
		x.answer = body{ended: true}
	}
	if r.StatusCode == http.StatusServiceUnavailable && x.again && x.answer.kind == bodyLength && x.answer.left < maxAnswerHead {
		x.holds = head
		return end - before, nil
	}
	x.began = true
	return end - before, head
}

// isMoved says whether an answer that is held is one of an owner that leaves the topics.
func isMoved(answer []byte) bool { return bytes.Contains(answer, []byte(`"code":"SHUTDOWN"`)) }
