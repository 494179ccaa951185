package relay

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// A client is a producer's connection. Its goroutine reads; another one leads it through its sessions.
type client struct {
	relay *Relay
	conn  tcpserver.Conn
	spare *[]byte // that the head is read into; nil for none

	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // something of what follows
	head     []byte     // whole lines of AUTH
	line     []byte     // the beginning of the next line
	request  *request   // nil before it has come
	passes   bool       // what the client sends is passed on as it is, and kept by nobody
	log      backlog
	admitted bool      // the client has logged in
	sent     bool      // messages were sent to an owner
	since    time.Time // when something was acknowledged, or the oldest of the rest has come
	over     error     // why nothing more is read; nil while it is
	session  *session  // nil between two
	told     uint64    // what the client got
	telling  bool      // a goroutine tells it
	last     []byte    // the last line for the client
	inOrder  bool      // the connection ends in good order
	done     bool      // there is no further session
}

func newClient(r *Relay, conn tcpserver.Conn) *client {
	c := &client{relay: r, conn: conn, log: backlog{memory: r.memory}}
	c.changed.L = &c.mu
	return c
}

// Why nothing more is read of a client, beside what its connection says.
var (
	errStopping = errors.New("this node stops")
	errCut      = errors.New("the client is cut off")
	errServed   = errors.New("the client has been served")
)

// run serves the client to its end.
func (c *client) run() {
	c.conn.ResetOnClose(true) // whatever ends this program, its end is not that of what was acknowledged
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer c.recovered()
		c.serve()
	}()
	func() {
		defer c.recovered()
		c.stop(c.readAll())
	}()
	<-served
	c.close()
}

// recovered ends the client after a panic.
func (c *client) recovered() {
	if r := recover(); r != nil {
		c.relay.o.Log.Error("panic in a connection", "client", c.conn.RemoteAddr(), "reason", r, "stack", string(debug.Stack()))
		c.cutOff()
	}
}

// readAll reads until the client ends, or has ended.
func (c *client) readAll() error {
	for {
		if err := c.awaitSpace(); err != nil {
			return err
		}
		n, err := c.conn.ReadInto(c)
		switch {
		case err == tcpserver.ErrNoSpace:
			if err := c.awaitMemory(); err != nil {
				return err
			}
			continue
		case err != nil:
			c.Idle()
			return err
		case c.relay.freeze.IsOver():
			return errCut
		}
		c.take(n)
	}
}

// Space implements tcpserver.Buffer.
func (c *client) Space() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isHead() {
		if c.spare == nil {
			c.spare = smallChunks.Get().(*[]byte)
		}
		return *c.spare
	}
	return c.log.space()
}

// Idle implements tcpserver.Buffer.
func (c *client) Idle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.freeSpare()
	c.log.giveBack()
}

func (c *client) freeSpare() {
	if c.spare != nil {
		smallChunks.Put(c.spare)
		c.spare = nil
	}
}

// isHead says whether the request has not come yet. The caller holds mu.
func (c *client) isHead() bool { return c.request == nil && !c.passes }

// take takes bytes that were read into Space.
func (c *client) take(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log.isEmpty() {
		c.since = time.Now()
	}
	if c.isHead() {
		p := (*c.spare)[:n]
		c.takeHead(p)
		c.freeSpare()
	} else {
		c.log.add(n)
	}
	c.wake()
}

// takeHead takes bytes up to the end of the request line. What follows is of the backlog. The caller holds mu.
func (c *client) takeHead(p []byte) {
	for c.isHead() {
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 {
			if c.line = append(c.line, p...); len(c.line) >= broker.RequestLine || len(c.line) > 0 && c.line[0] < ' ' {
				c.pass()
			}
			return
		}
		c.line = append(c.line, p[:end]...)
		p = p[end:]
		if isLogin(c.line) && len(c.head) < broker.RequestLine {
			c.head = append(c.head, c.line...)
			c.line = nil
			continue
		}
		if r, ok := parse(c.line[:len(c.line)-1]); ok {
			c.request, c.line = r, nil
			c.log.acked, c.told = r.first-1, r.first-1
			if r.isBatch {
				c.log.marks = &marks{first: r.first, last: r.first - 1}
			}
			break
		}
		c.pass()
	}
	c.keep(p)
}

// keep keeps bytes that have come with the head. The caller holds mu.
func (c *client) keep(p []byte) {
	if err := c.log.put(p); err != nil {
		c.finish([]byte(c.relay.o.Refusal(err)))
	}
}

// pass has what the client sends passed on as it is. The caller holds mu.
func (c *client) pass() {
	c.passes = true
	c.keep(c.line)
	c.line = nil
}

// wake has the session, and all that wait, look again. The caller holds mu.
func (c *client) wake() {
	if c.session != nil {
		c.session.pipe.Wake()
	}
	c.changed.Broadcast()
}

// awaitSpace waits until more may be read, and gives the reason when nothing may.
func (c *client) awaitSpace() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.over == nil && c.isFull() {
		c.changed.Wait()
	}
	return c.over
}

// isFull says whether the client has to wait. The caller holds mu.
func (c *client) isFull() bool {
	ahead := c.log.size()
	if s := c.session; s != nil && s.began {
		ahead = int(c.log.end - s.sent)
	}
	return !c.admitted && c.log.size() >= waitingWindow || ahead >= aheadWindow || c.log.size() >= window && c.log.hasMessage()
}

// awaitMemory waits until something is acknowledged, whose memory can be used again.
func (c *client) awaitMemory() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.log.start
	for c.over == nil && c.log.start == before {
		if !c.log.hasMessage() && !c.passes {
			c.finish([]byte(c.relay.o.Refusal(ErrMemory)))
			break
		}
		c.changed.Wait()
	}
	return c.over
}

// stop says why nothing more is read.
func (c *client) stop(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(why, os.ErrDeadlineExceeded) && c.relay.conns.IsStopping() {
		why = errStopping
	}
	if c.over == nil {
		c.over, c.since = why, time.Now()
	}
	if why == io.EOF && len(c.line) > 0 {
		c.pass()
	}
	c.settle()
	c.wake()
}

// settle ends the session if nothing is to come of it. The caller holds mu.
func (c *client) settle() {
	if c.session != nil && (c.isLost() || c.over == errStopping && !c.log.hasMessage()) {
		c.session.pipe.Fail(c.over)
	}
}

// lose says that the client is lost.
func (c *client) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over == nil || c.over == io.EOF || c.over == errStopping {
		c.over = err
	}
	c.conn.Interrupt()
	c.settle()
	c.wake()
}

// interrupt has the client end when what it has sent is acknowledged, because the Relay stops.
func (c *client) interrupt() { c.conn.Interrupt() }

// cutOff ends the client at once.
func (c *client) cutOff() {
	c.lose(errCut)
	c.conn.Abort()
}

// finish ends all sessions, with the last line for the client. The caller holds mu.
func (c *client) finish(last []byte) {
	c.last, c.done, c.inOrder = last, true, true
	if c.over == nil {
		c.over = errServed
	}
	c.conn.Interrupt()
	c.settle()
	c.changed.Broadcast()
}

// tell has the client get what is acknowledged. The caller holds mu.
func (c *client) tell() {
	if !c.telling && c.log.acked > c.told {
		c.telling = true
		go c.write()
	}
}

// write writes counts until the client got the latest.
func (c *client) write() {
	var line [24]byte
	for {
		c.mu.Lock()
		n := c.log.acked
		if n == c.told {
			c.telling = false
			c.changed.Broadcast()
			c.mu.Unlock()
			return
		}
		c.told = n
		c.mu.Unlock()
		p := append(strconv.AppendUint(append(line[:0], '+'), n, 10), '\n')
		if _, err := c.conn.Write(p, c.relay.o.Limits.WriteTime); err != nil {
			c.lose(err)
		}
	}
}

// close ends the connection.
func (c *client) close() {
	c.mu.Lock()
	for c.telling {
		c.changed.Wait()
	}
	c.freeSpare()
	c.log.free()
	last, inOrder, passes := c.last, c.inOrder, c.passes
	isEmpty := c.request != nil && c.told == c.request.first-1
	c.mu.Unlock()
	switch {
	case !inOrder:
		c.conn.Abort()
		return
	case last != nil:
		tcpserver.WriteLast(c.conn, string(last), c.relay.o.Limits.WriteTime)
	case isEmpty: // as the owner says it
		_, _ = c.conn.Write(append(strconv.AppendUint([]byte("+"), c.told, 10), '\n'), c.relay.o.Limits.WriteTime)
	}
	c.conn.ResetOnClose(false)
	if passes { // an owner's last line may not be read yet
		tcpserver.Linger(c.conn)
	}
	c.conn.Close()
}
