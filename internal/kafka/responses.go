package kafka

import (
	"errors"
	"fmt"
)

// complete takes a call's response. If the connection's goroutine is in a handler, it writes
// the responses after it; otherwise a goroutine does that exists only while there are some.
func (c *conn) complete(call *call, response encoder, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.completed || c.ended {
		release(response)
		return
	}
	c.server.requests.add(call.header.key, response, err)
	call.completed, call.response, call.err, call.cancel = true, response, err, nil
	if call.waited {
		c.changed.Broadcast()
	}
	if next := c.firstPending(); next != nil && next.whenFirst != nil {
		f := next.whenFirst
		next.whenFirst = nil
		next.async(f)
	}
	if c.queue[0] == call && !c.reading && !c.writing {
		c.writing = true
		go c.writeCompleted()
	}
}

// firstPending is the first call that is not complete; nil if all are. The caller holds mu.
func (c *conn) firstPending() *call {
	for _, call := range c.queue {
		if !call.completed {
			return call
		}
	}
	return nil
}

// isFirst reports whether all calls before one are complete. If not, f is called when they are.
func (c *conn) isFirst(call *call, f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if next := c.firstPending(); next == call || c.ended {
		return true
	}
	call.whenFirst, call.waited = f, true
	return false
}

func release(m encoder) {
	if r, ok := m.(releaser); ok {
		r.release()
	}
}

func (c *conn) onClose(call *call, f func()) {
	c.mu.Lock()
	gone := c.ended || c.stopping && !call.completed
	if !gone && !call.completed {
		call.cancel = f
	}
	c.mu.Unlock()
	if gone {
		f()
	}
}

// afterHandler writes the completed responses, in the connection's goroutine.
func (c *conn) afterHandler() {
	c.mu.Lock()
	c.reading = false
	due := len(c.queue) > 0 && c.queue[0].completed && !c.writing && !c.ended
	c.writing = c.writing || due
	c.mu.Unlock()
	if due {
		c.writeCompleted()
	}
}

// writeCompleted writes responses until the next call is not complete. The caller has set
// writing.
func (c *conn) writeCompleted() {
	defer c.recovered(func() { c.takeCompleted() }) // which resets writing
	for {
		due := c.takeCompleted()
		if len(due) == 0 {
			return
		}
		if err := c.write(due); err != nil {
			c.abort(err)
		}
	}
}

var errPanic = errors.New("a panic, which is logged")

// recovered is deferred where a panic must end this connection only. It calls after then.
func (c *conn) recovered(after func()) {
	if r := recover(); r != nil {
		c.server.panicked(c, r)
		c.abort(errPanic)
		after()
	}
}

// takeCompleted takes the completed calls at the head of the queue. If there are none it
// resets writing.
func (c *conn) takeCompleted() []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.queue) && c.queue[n].completed {
		n++
	}
	if n == 0 || c.ended {
		c.writing = false
		c.changed.Broadcast()
		return nil
	}
	due := append([]*call(nil), c.queue[:n]...)
	c.queue = append(c.queue[:0], c.queue[n:]...)
	clear(c.queue[len(c.queue) : len(c.queue)+n])
	c.changed.Broadcast()
	return due
}

// sendAt is the number of bytes of small responses that are collected and sent together.
const sendAt = 32 << 10

// write writes responses, the small ones together.
func (c *conn) write(due []*call) error {
	out := getBuffer(0)
	defer func() {
		putBuffer(out)
		for _, call := range due {
			release(call.response)
		}
	}()
	var failed error
	for _, call := range due {
		if call.err != nil {
			failed = call.err
			c.logClosing(failed)
			break
		}
		if call.response == nil {
			continue
		}
		var err error
		if out, err = c.collect(out, call); err != nil {
			return err
		}
		release(call.response)
		call.response = nil
	}
	if err := c.send(out); err != nil {
		return err
	}
	return failed
}

// collect appends a small response to out. It sends a large one, after the bytes in out.
func (c *conn) collect(out []byte, call *call) ([]byte, error) {
	large, ok := call.response.(*fetchResponse)
	if !ok || large.size() < sendAt {
		if out = appendResponse(out, call.header, call.response); len(out) < sendAt {
			return out, nil
		}
		return out[:0], c.send(out)
	}
	return out[:0], c.sendSections(out, large.sections(call.header))
}

// sendSections sends the bytes in out and then the sections of a response.
func (c *conn) sendSections(out []byte, sections []section) error {
	due := [][]byte{out}
	for _, p := range sections {
		if p.file == nil {
			due = append(due, p.bytes)
			continue
		}
		if err := c.writer().writeAll(due...); err != nil {
			return err
		}
		due = nil
		err := p.file.sendTo(c.writer())
		if errors.Is(err, errSince) {
			c.logClosing(fmt.Errorf("%s/%d from offset %d: %w", p.file.topic, p.file.number, p.file.offset, err))
		}
		if err != nil {
			return err
		}
	}
	return c.writer().writeAll(due...)
}

func (c *conn) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return c.writer().write(p)
}

func (c *conn) writer() progressWriter {
	return progressWriter{c.net, c.server.broker.Limits.WriteTime}
}

// cancelWaiting cancels the calls that wait.
func (c *conn) cancelWaiting() {
	c.mu.Lock()
	var cancels []func()
	for _, call := range c.queue {
		if call.cancel != nil {
			cancels = append(cancels, call.cancel)
		}
	}
	c.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
}

// awaitResponses waits until all responses are written, or the connection has ended.
func (c *conn) awaitResponses() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.queue) > 0 || c.writing) && !c.ended {
		c.changed.Wait()
	}
}

// abort ends the connection at once and cancels its calls.
func (c *conn) abort(reason error) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	left := c.queue
	c.queue = nil
	c.changed.Broadcast()
	c.mu.Unlock()
	c.giveUp()
	c.server.log.Debug("connection cut off", "client", c.net.RemoteAddr(), "reason", reason)
	c.net.Close()
	for _, call := range left {
		release(call.response)
		if call.cancel != nil {
			call.cancel()
		}
	}
}
