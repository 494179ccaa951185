package tcpserver

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrNotTaken says that a node has not taken a link: it does not own what the client wants, or is not there. The
// client's connection is as it was.
var ErrNotTaken = errors.New("the other node does not take the connection")

// Carry carries a client of this node over a link, to the node that has the other end, until either ends. Then both
// are closed: a link that breaks is a reset to the client. After ErrNotTaken only the link is.
func Carry(client, link Conn, hello Hello) error { return carry(client, link, hello, usualTimes) }

func carry(client, link Conn, hello Hello, t linkTimes) error {
	w := newWire(link, t)
	body, err := hello.append(nil)
	if err == nil {
		err = w.send(frameHello, body...)
	}
	if err != nil {
		link.Abort()
		return errors.Join(ErrNotTaken, err)
	}
	c := newCarrier(client, w)
	err = w.run(c.handle)
	if !c.began {
		link.Abort()
		return errors.Join(ErrNotTaken, err)
	}
	return c.end(err)
}

// A carrier is the node's end of a link that has the client.
type carrier struct {
	client Conn
	wire   *wire
	began  bool // the owner has taken the client
	fore   fore
	back   back

	writing sync.Mutex // held while bytes are written to the client
	mu      sync.Mutex // guards what follows; held while the system may give an error of the client, which it does once
	failed  error      // that it has given
}

// A fore is the way from the client to the owner.
type fore struct {
	stopped chan struct{} // closed when nothing is read any more

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	granted uint64 // bytes that may be sent
	sent    uint64
	stops   bool

	mem  *[]byte // of the read that goes on, of pool
	pool *sync.Pool
}

// A back is the way from the owner to the client, for what can't go at once.
type back struct {
	mu      sync.Mutex // guards what follows
	bytes   backlog    // for the client
	meter   meter
	written uint64 // bytes that the client's socket has
	rests   bool   // a write has not ended: the next goes on with it, even if there are no more bytes
	steps   []step // that follow them
	running bool   // a goroutine is at work on both
	ended   sync.WaitGroup
}

// A step is done when all bytes before it are written, of which the client must take some within limit.
type step struct {
	do    func()
	limit time.Duration
}

func newCarrier(client Conn, w *wire) *carrier {
	c := &carrier{client: client, wire: w}
	c.fore.changed.L, c.fore.granted, c.fore.stopped = &c.fore.mu, firstGrant, make(chan struct{})
	c.back.meter = newMeter(fullGrant)
	return c
}

// errClosed ends the frames of an owner that has closed in good order.
var errClosed = errors.New("the owner has closed the connection")

// handle takes the frames of the owner.
func (c *carrier) handle(k kind, p []byte) error {
	if k == frameElsewhere && !c.began {
		return ErrNotTaken
	}
	if !c.began {
		c.began = true
		c.client.ResetOnClose(true) // whatever ends this program, its end is not that of what was written
		c.client.Observe()
		go c.forward()
	}
	switch k {
	case frameWelcome:
	case frameData:
		return c.write(p)
	case frameGrant:
		return c.fore.grant(binary.BigEndian.Uint64(p))
	case frameAsk:
		c.answer()
	case frameObserve:
		c.client.Observe()
	case frameAdmitted:
		c.client.guest().admit()
	case frameEnd:
		c.then(step{c.closeWrite, c.wire.times.stall})
	case frameConfirm:
		return c.confirm(p)
	case frameClose:
		return errClosed
	default:
		return errFrame
	}
	return nil
}

// end ends both connections when the frames have ended with err.
func (c *carrier) end(err error) error {
	if err == errClosed {
		c.wire.conn.Close()
		c.stop()
		c.then(step{c.close, c.wire.times.stall})
		c.back.ended.Wait()
		return nil
	}
	c.client.Abort()
	c.wire.conn.Abort()
	c.stop()
	c.back.ended.Wait()
	return err
}

// close closes the client's connection in good order.
func (c *carrier) close() {
	if c.failure() == nil {
		c.client.ResetOnClose(false)
	}
	c.client.Close()
}

// fail notes that the system has given an error of the client, and tells the owner. The caller holds mu.
func (c *carrier) fail(err error) {
	if c.failed == nil {
		c.failed = err
		_ = c.wire.send(frameFailed, appendErrno(nil, err)...)
	}
}

func (c *carrier) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// tell tells the owner how many bytes it may send.
func (c *carrier) tell(grant uint64, tell bool) {
	if tell {
		_ = c.wire.send(frameGrant, binary.BigEndian.AppendUint64(nil, grant)...)
	}
}

// write writes bytes of the owner's to the client. What that does not take at once waits.
func (c *carrier) write(p []byte) error {
	b := &c.back
	b.mu.Lock()
	err := b.meter.take(len(p))
	waits := b.running
	if waits && err == nil {
		b.bytes.add(p)
	}
	b.mu.Unlock()
	if waits || err != nil {
		return err
	}
	n, err := c.put(p, c.wire.times.moment, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.mu.Lock()
		b.bytes.add(p[n:])
		b.rests = true
		b.start(c)
		b.mu.Unlock()
	}
	c.tell(b.wrote(n))
	return nil
}

// put writes to the client, within some time, or all of p if a step follows. What a client that has failed does not get
// counts as written.
func (c *carrier) put(p []byte, within time.Duration, next *step) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.failure() != nil {
		return len(p), nil
	}
	if next == nil {
		n, err = c.client.Write(p, within)
	} else {
		var all int64
		all, err = c.client.WriteAll(next.limit, p)
		n = int(all)
	}
	if err == nil || next == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(err)
	return len(p), nil
}

// start has a goroutine do what waits. The caller holds mu.
func (b *back) start(c *carrier) {
	if !b.running {
		b.running = true
		b.ended.Go(c.work)
	}
}

// wrote counts bytes that the client's socket has.
func (b *back) wrote(n int) (grant uint64, tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written += uint64(n)
	return b.meter.use(n)
}

// then has a step done behind the bytes that wait.
func (c *carrier) then(s step) {
	b := &c.back
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps = append(b.steps, s)
	b.start(c)
}

// work does what waits, until nothing does.
func (c *carrier) work() {
	b := &c.back
	for {
		b.mu.Lock()
		p, rests := b.bytes.lend(), b.rests
		var next *step
		if len(b.steps) > 0 {
			next = &b.steps[0]
		}
		switch {
		case len(p) > 0 || rests:
			b.mu.Unlock()
			n, err := c.put(p, c.wire.times.pause, next)
			b.mu.Lock()
			b.bytes.skip(n)
			b.rests = err != nil // a client that takes its time has more
			b.mu.Unlock()
			c.tell(b.wrote(n))
		case next != nil:
			b.steps = b.steps[1:]
			b.mu.Unlock()
			next.do()
		default:
			b.running = false
			b.mu.Unlock()
			return
		}
	}
}

// closeWrite closes the sending side to the client.
func (c *carrier) closeWrite() {
	if c.failure() != nil {
		return
	}
	if err := c.client.CloseWrite(); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fail(err)
	}
}

// confirm finds out how the client ends.
func (c *carrier) confirm(p []byte) error {
	how, last, times, err := parseConfirm(p)
	if err != nil {
		return err
	}
	last = append([]byte(nil), last...)
	c.then(step{func() {
		c.stop()
		err := c.failure()
		if err == nil {
			err = closeAs(c.client, how, last, times)
		}
		if err == nil {
			err = c.failure() // that nobody else has seen
		}
		_ = c.wire.send(frameConfirmed, appendVerdict(nil, err)...)
	}, times.Acknowledge})
	return nil
}

// answer tells the owner what the client's system has.
func (c *carrier) answer() {
	c.back.mu.Lock()
	written := c.back.written
	c.back.mu.Unlock()
	c.mu.Lock()
	missing, err := c.client.Unacknowledged()
	if err != nil {
		c.fail(err)
	}
	c.mu.Unlock()
	if err != nil {
		return
	}
	received := written - min(written, uint64(missing))
	p := binary.BigEndian.AppendUint64(nil, received)
	_ = c.wire.send(frameState, binary.BigEndian.AppendUint64(p, uint64(c.client.taken()))...)
}

// forward sends what the client sends to the owner, until its end, or stop.
func (c *carrier) forward() {
	defer close(c.fore.stopped)
	err := c.readAll()
	if err == io.EOF && c.endsWell() {
		_ = c.wire.send(frameEnd)
		err = c.client.AwaitReset()
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return // it is stopped
	}
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	err = c.failed
	c.mu.Unlock()
	_ = c.wire.send(frameReset, appendErrno(nil, err)...)
}

// endsWell says whether the end that was read is one in good order. After a reset a read gives the same end if
// something else has had the error, which is another one where the end had come before.
func (c *carrier) endsWell() bool {
	if c.client.view().state != closed {
		return true
	}
	c.writing.Lock() // a write that has had the error has noted it
	defer c.writing.Unlock()
	err := c.failure()
	return err == nil || errors.Is(err, syscall.EPIPE)
}

// readAll sends all data. The error is the client's, or the link's; none, or a time-out, after stop.
func (c *carrier) readAll() error {
	f := &c.fore
	for f.await() {
		n, err := c.client.ReadInto(f)
		if err != nil {
			f.Idle()
			return err
		}
		if c.wire.isSilent() { // the bytes may be old, and the client have sent them elsewhere since
			c.wire.conn.Abort()
			return errSilent
		}
		err = c.wire.sendFrame(frameData, (*f.mem)[:frameHeader+n])
		f.use(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// stop ends the reading.
func (c *carrier) stop() {
	c.fore.mu.Lock()
	c.fore.stops = true
	c.fore.changed.Broadcast()
	c.fore.mu.Unlock()
	c.client.Interrupt()
	<-c.fore.stopped
}

// await waits until bytes may be sent. It reports false when it is to stop.
func (f *fore) await() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.stops && f.sent == f.granted {
		f.Idle()
		f.changed.Wait()
	}
	return !f.stops
}

func (f *fore) grant(n uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.sent+2*fullGrant {
		return errGrant
	}
	f.granted = max(f.granted, n)
	f.changed.Broadcast()
	return nil
}

// Space implements Buffer: bytes are read behind the space for a header.
func (f *fore) Space() []byte {
	if f.pool == nil {
		f.pool = &smallOutputs
	}
	if f.mem == nil {
		f.mem = f.pool.Get().(*[]byte)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	most := min(uint64(cap(*f.mem)-frameHeader), maxData, f.granted-f.sent)
	return (*f.mem)[frameHeader : frameHeader+most]
}

// Idle implements Buffer: a client that sends nothing has no buffer.
func (f *fore) Idle() {
	if f.mem != nil {
		f.pool.Put(f.mem)
		f.mem = nil
	}
}

// use counts bytes that were sent. A client that fills a buffer gets a large one.
func (f *fore) use(n int) {
	f.mu.Lock()
	f.sent += uint64(n)
	f.mu.Unlock()
	pool := &smallOutputs
	if n >= smallOutput-frameHeader {
		pool = &largeOutputs
	}
	if pool != f.pool {
		f.Idle()
		f.pool = pool
	}
}
