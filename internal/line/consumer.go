package line

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/tcpserver"
)

// A consumer is a connection that gets the messages of a delivery.Session.
type consumer struct {
	conn    *conn
	request *request
	sink    *sink
	session *delivery.Session
}

// consume serves a consumer's connection.
func (c *conn) consume() error {
	r, err := c.readRequest(consumerOptions)
	if err != nil {
		return ignoreEOF(err)
	}
	switch {
	case r.admin != nil:
		return c.administer(r)
	case r.redrive:
		return c.redrive(r)
	}
	sink := newSink(c, r)
	k := &consumer{conn: c, request: r, sink: sink, session: c.server.hub.NewSession(c.deliveryOptions(r), sink)}
	defer k.session.Close(delivery.Stopping) // if anything panics
	if r.deliver.Follow || r.deliver.Ack {
		return k.follow()
	}
	return k.drain()
}

// deliveryOptions says what the client gets.
func (c *conn) deliveryOptions(r *request) delivery.Options {
	o := r.deliver
	o.Port = broker.Consumers
	o.View, o.Topic, o.Group, o.Client = c.view, r.topic, r.group, c.net.RemoteAddr().String()
	o.Find = func() (*broker.Topic, error) { return r.find(c.view, broker.Read) }
	o.OnEnd = c.net.Interrupt
	return o
}

// drain sends all messages and closes. The client acknowledges by reading to the end.
func (k *consumer) drain() error {
	c := k.conn
	if !c.server.finish(c) {
		return errorLinef("SHUTDOWN", "the broker is stopping")
	}
	c.net.Observe()
	c.in.Free() // nothing more is expected
	if err := k.writeEnd(forClient(k.session.Drain())); err != nil {
		return err
	}
	c.net.Observe() // before the client's system has all of it
	return k.cleanClose()
}

// follow sends messages as they come, and reads acknowledgements.
func (k *consumer) follow() error {
	if k.request.deliver.Ack {
		k.conn.net.ResetOnClose(true) // if the broker dies its end must not look like the confirmation
	}
	if err := k.session.Start(); err != nil {
		return forClient(err)
	}
	read := k.readAcks()
	sent := forClient(k.session.Stop())
	why, err := k.end(read, sent)
	if k.request.deliver.Ack && k.isLost(read, sent, err) {
		why = delivery.Lost
	}
	if e := k.session.Close(why); err == nil {
		err = forClient(e)
	}
	return err
}

// end writes the reason of the end, if the client is still there, and returns how the session
// is closed. read is the error that ended the reading of acknowledgements, sent the sending.
func (k *consumer) end(read, sent error) (delivery.Reason, error) {
	switch {
	case errors.Is(sent, delivery.ErrAckTimeout):
		return delivery.Stopping, sent
	case sent != nil && !errors.Is(read, errLeft):
		return k.endOfStream(sent)
	case errors.Is(read, errLeft):
		return delivery.Left, nil
	case k.conn.server.isStopping() && isTimeout(read):
		return k.endOfStream(errorLinef("SHUTDOWN", "the broker is stopping"))
	}
	return delivery.Stopping, read
}

// endOfStream closes the broker's side, and reads the last acknowledgements.
func (k *consumer) endOfStream(err error) (delivery.Reason, error) {
	c := k.conn
	showsEnd := err == io.EOF && k.request.format == formatBatch // the client sees the end
	if err == io.EOF {
		err = nil
	}
	k.session.WriteConfirms()
	if err := k.writeEnd(err); err != nil {
		return delivery.Stopping, err
	}
	if !k.request.deliver.Ack {
		return delivery.Stopping, k.cleanClose()
	}
	if !showsEnd {
		if err := c.net.CloseWrite(); err != nil {
			return delivery.Stopping, err
		}
	}
	c.net.Resume(time.Time{})
	if c.server.isStopping() { // after Resume, which undoes the interrupt of a stop
		c.net.Resume(time.Now().Add(tcpserver.LingerTime))
	}
	if k.session.HasExpired() { // and has interrupted the reading before
		return delivery.Stopping, delivery.ErrAckTimeout
	}
	if err := k.readAcks(); k.session.HasExpired() {
		return delivery.Stopping, delivery.ErrAckTimeout // the end was written: nothing may stand behind that
	} else if !errors.Is(err, errLeft) {
		return delivery.Stopping, err
	}
	return delivery.Complete, nil
}

// writeEnd writes the last line: an error line, or the end of format=batch. An err of the
// connection is returned, and not written.
func (k *consumer) writeEnd(err error) error {
	var a *errorLine
	switch {
	case errors.As(err, &a):
		k.sink.out.Buf = append(k.sink.out.Buf, a.line()...)
	case err != nil:
		return err
	case k.request.format == formatBatch:
		k.sink.out.Buf = append(k.sink.out.Buf, ".\n"...)
	}
	err = k.session.Flush()
	k.session.ReleaseBuffers()
	return err
}

// cleanClose closes the connection. If the client has read everything, all that was sent is
// consumed; where nothing is consumed by that, it does not wait to find out.
func (k *consumer) cleanClose() error {
	if k.session.IsSettled() {
		return k.conn.closeInOrder()
	}
	if err := k.conn.confirmClose(); err != nil {
		return err
	}
	return k.session.Close(delivery.Complete)
}

// forClient makes an error of a session an error line, unless it is the connection's or io.EOF.
func forClient(err error) error {
	var e *delivery.Error
	if errors.As(err, &e) {
		return toErrorLine(err)
	}
	return err
}

// isLost reports whether a client that acknowledges is lost: its connection broke, or it has
// stalled. It is not lost if it has left in good order before, or if the broker stops or has
// ended the connection.
// read is the error that ended the reading, sent the sending, and err the stream.
func (k *consumer) isLost(read, sent, err error) bool {
	if k.conn.server.isStopping() || k.conn.revoked.Load() {
		return false
	}
	lost := isLoss(sent) || isLoss(err) || isLoss(read) && !isTimeout(read) // which is an interruption
	if isBroken(err) {
		rest := k.readLastAcks()
		lost = lost || isLoss(rest) && !isTimeout(rest)
	}
	return lost
}

// isBroken reports whether err is one of the connection, and not one that the client gets.
func isBroken(err error) bool {
	var a *errorLine
	var op *net.OpError
	var number syscall.Errno
	return !errors.As(err, &a) && (errors.As(err, &op) || errors.As(err, &number))
}

// isLoss reports whether err means that the client is lost. An error of a write to a closed
// connection does not: the client may have closed it in good order before.
func isLoss(err error) bool {
	return isBroken(err) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ENOTCONN)
}

// lastAcksTime is how long acknowledgements are read from a connection that is broken.
const lastAcksTime = 20 * time.Millisecond

// readLastAcks reads the acknowledgements that came before the connection broke, where a
// write was the first to fail. It waits a moment only: a client that has stalled sends
// nothing more.
func (k *consumer) readLastAcks() error {
	k.conn.net.Resume(time.Now().Add(lastAcksTime))
	if k.conn.server.isStopping() {
		k.conn.net.Interrupt()
	}
	return k.readAcks()
}
