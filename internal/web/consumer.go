package web

import (
	"errors"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"mbus/internal/delivery"
	"mbus/internal/tcpserver"
)

// A consumer is a connection that gets the messages of a delivery.Session. net/http has given it
// away: the answer is written here, and the connection closes behind it, because the client's close
// shows that it has read everything.
type consumer struct {
	server  *Server
	conn    *conn
	asked   time.Time // when the request had come
	options *delivery.Options
	again   *delivery.Options // what is sent first, once more; nil for nothing
	sink    *sink
	session *delivery.Session
}

// finish lets c go on for a while when the server stops. It reports false if it is stopping
// already.
func (s *Server) finish(c *conn) bool {
	c.finishes.Store(true)
	return !s.isStopping()
}

// run serves the connection to its end. A panic ends this connection only.
func (k *consumer) run() {
	nc := k.conn.net
	defer func() {
		if p := recover(); p != nil {
			k.server.log.Error("panic in a connection", "client", nc.RemoteAddr(), "reason", p, "stack", string(debug.Stack()))
			nc.Abort()
		}
	}()
	err := k.consume()
	nc.ResetOnClose(err != nil)
	nc.Close()
	k.server.log.Debug("consumer ended", "client", nc.RemoteAddr(), "reason", err)
}

func (k *consumer) consume() error {
	if k.again != nil {
		if goesOn, err := k.sendAgain(); err != nil || !goesOn {
			return err
		}
	}
	k.session = k.server.hub.NewSession(*k.options, k.sink)
	defer k.session.Close(delivery.Stopping) // if anything fails
	if k.options.Follow {
		return k.follow()
	}
	return k.drain()
}

// sendAgain replays what the group has consumed and the client has not seen. It reports false if
// the answer ends with that.
func (k *consumer) sendAgain() (goesOn bool, err error) {
	k.session = k.server.hub.NewSession(*k.again, k.sink)
	defer k.session.Close(delivery.Stopping)
	if err := k.session.Drain(); err != nil {
		return false, k.fail(err)
	}
	if k.options.N == 0 {
		return true, nil
	}
	if k.options.N -= k.sink.messages; k.options.N <= 0 {
		return false, k.complete(delivery.Complete)
	}
	return true, nil
}

// drain sends all messages and closes.
func (k *consumer) drain() error {
	k.conn.net.Observe()
	err := k.session.Drain()
	if err == nil {
		return k.complete(delivery.Complete)
	}
	return k.fail(err)
}

// follow sends messages as they come.
func (k *consumer) follow() error {
	if err := k.session.Start(); err != nil {
		return k.fail(err)
	}
	stop := k.beat()
	read := k.awaitLeave()
	stop()
	switch sent := k.session.Stop(); {
	case sent == io.EOF:
		return k.complete(delivery.Complete)
	case sent != nil:
		return k.fail(sent)
	case k.server.isStopping() && errors.Is(read, os.ErrDeadlineExceeded):
		return k.fail(errStopping)
	}
	if read == io.EOF {
		return nil
	}
	return read
}

// beat has signs of life sent now and then, where the format has any.
func (k *consumer) beat() (stop func()) {
	if k.sink.format != formatSSE {
		return func() {}
	}
	t := new(ticker)
	t.start(k.server.broker.Limits.HTTPBeat, func() {
		k.sink.beats.Store(true)
		k.session.Wake()
	})
	return t.stop
}

// A ticker calls a function again and again, without a goroutine that waits.
type ticker struct {
	mu    sync.Mutex // guards timer
	timer *time.Timer
}

func (t *ticker) start(every time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(every, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.timer != nil {
			f()
			t.timer.Reset(every)
		}
	})
}

func (t *ticker) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer.Stop()
	t.timer = nil
}

// awaitLeave waits for the client to leave, and throws away all bytes that it sends. A client of
// HTTP that closes its sending side has left: it would otherwise hold its group until the next
// message shows that.
func (k *consumer) awaitLeave() error {
	var p trash
	for {
		if _, err := k.conn.net.ReadInto(&p); err != nil {
			return err
		}
	}
}

// trash is where bytes go that nobody wants.
type trash [64]byte

func (t *trash) Space() []byte { return t[:] }
func (t *trash) Idle()         {}

// complete ends the answer in good order. A client that has read everything has consumed
// everything; where nothing is consumed by that, it does not wait to find out.
func (k *consumer) complete(why delivery.Reason) error {
	k.sink.end()
	if err := k.session.Flush(); err != nil {
		return err
	}
	return k.close(k.sink.terminal(), why)
}

// close writes the last bytes of an answer, which show its end, and closes.
func (k *consumer) close(last []byte, why delivery.Reason) error {
	k.session.ReleaseBuffers()
	nc, times := k.conn.net, k.closeTimes()
	if k.session.IsSettled() {
		if _, err := nc.WriteAll(times.Acknowledge, last); err != nil {
			return err
		}
		return tcpserver.CloseInOrder(nc, times)
	}
	confirm := func() error { return tcpserver.ConfirmClose(nc, times) }
	if len(last) > 0 {
		confirm = func() error { return tcpserver.ConfirmLast(nc, last, times) }
	}
	if err := confirm(); err != nil {
		return err
	}
	return k.session.Close(why)
}

func (k *consumer) closeTimes() tcpserver.CloseTimes {
	l := &k.server.broker.Limits
	return tcpserver.CloseTimes{
		Asked: k.asked, Acknowledge: l.WriteTime, HalfClose: l.HalfCloseTime, Reset: l.ResetTime, Close: l.CloseTime,
	}
}

// fail ends the answer with an error. If it has not begun it is a problem document. Events end
// with one, and go on behind messages that are gone when the client comes again. A drain that comes to messages that are missing ends before them, and the next one
// begins with that error: if the answer were cut off there, its messages would come again and
// again. Other answers are cut off, which the client sees.
func (k *consumer) fail(err error) error {
	var known *delivery.Error
	var own *problem
	if !errors.As(err, &known) && !errors.As(err, &own) {
		return err // of the connection
	}
	p := toProblem(err)
	switch isEvents := k.sink.format == formatSSE; {
	case isEvents && (k.sink.began || errors.Is(err, delivery.ErrGap)):
		k.skipGone()
		k.sink.problem(p)
		return k.complete(delivery.Complete)
	case !k.sink.began:
		a := newAnswer(k.sink.header)
		p.write(a)
		last := len(a.out) - 1
		if _, err := k.conn.net.WriteAll(k.conn.writeTime, a.out[:last:last]); err != nil {
			return err
		}
		return k.close(a.out[last:], delivery.Complete)
	case !k.options.Follow && (errors.Is(err, delivery.ErrGap) || errors.Is(err, delivery.ErrDamaged)):
		return k.complete(delivery.Received)
	}
	if err := k.session.Flush(); err != nil {
		return err
	}
	tcpserver.WriteLast(k.conn.net, "", k.conn.writeTime)
	return nil
}

// skipGone moves the places of a replay, from which its client goes on, behind what the topic has no more.
func (k *consumer) skipGone() {
	t, err := k.options.Find()
	if err != nil {
		return // so will the client's next request
	}
	logs := t.Partitions()
	for i := range k.sink.places {
		if at := &k.sink.places[i]; at.partition < len(logs) {
			start, _ := logs[at.partition].Offsets()
			at.offset = max(at.offset, start)
		}
	}
}
