package tcpserver

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// The bytes of data that one side of a link may have sent and the other has not used: what a client that stalls, or
// floods, has others hold. Of a client that has not logged in it is less.
const (
	firstGrant = smallOutput
	fullGrant  = 64 << 10
)

// A meter is the flow control of one side that receives.
type meter struct {
	window  uint64 // bytes that may have come and are not used
	got     uint64 // bytes that have come
	used    uint64 // of those
	granted uint64 // bytes that may have come
}

func newMeter(window uint64) meter { return meter{window: window, granted: window} }

// take counts bytes that have come.
func (m *meter) take(n int) error {
	if m.got += uint64(n); m.got > m.granted {
		return errGrant
	}
	return nil
}

// use counts bytes that are used, and says whether the other side needs to know how many it may send now.
func (m *meter) use(n int) (grant uint64, tell bool) {
	m.used += uint64(n)
	return m.grant(m.window / 4)
}

// widen has more bytes come at a time.
func (m *meter) widen() (grant uint64, tell bool) {
	m.window = fullGrant
	return m.grant(1)
}

func (m *meter) grant(least uint64) (uint64, bool) {
	if m.used+m.window < m.granted+least {
		return 0, false
	}
	m.granted = m.used + m.window
	return m.granted, true
}

var errGrant = linkError("read", errBadFlow)

// An inflow is what comes from a client over a link, until it is read.
type inflow struct {
	wake chan struct{} // an element has the one that waits look again

	mu          sync.Mutex // guards what follows
	bytes       backlog    // that have come, and are not read
	meter       meter
	ended       bool // behind them comes the end, in good order
	closed      bool
	err         error // behind them comes this
	failed      error // that the connection has, although more bytes may come
	verdict     *verdict
	deadline    time.Time
	interrupted bool
}

// A verdict is how a carrier has found a client to have ended.
type verdict struct{ err error }

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// add adds bytes that have come.
func (f *inflow) add(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.meter.take(len(p)); err != nil {
		return err
	}
	if !f.closed {
		f.bytes.add(p)
	}
	poke(f.wake)
	return nil
}

// ready says whether there are bytes to read, or why there will be none.
func (f *inflow) ready() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return false, linkError("read", net.ErrClosed)
	case f.isOver():
		return false, errLate("read")
	case len(f.bytes.bytes()) > 0:
		return true, nil
	case f.ended:
		return false, io.EOF
	}
	return false, f.err
}

// read reads bytes that have come into p.
func (f *inflow) read(p []byte) (n int, grant uint64, tell bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = copy(p, f.bytes.bytes())
	f.bytes.skip(n)
	grant, tell = f.meter.use(n)
	return n, grant, tell
}

// discard throws away what has come.
func (f *inflow) discard() (grant uint64, tell bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.bytes.bytes())
	f.bytes.drop()
	return f.meter.use(n)
}

// isOver says whether reads end now. The caller holds mu.
func (f *inflow) isOver() bool {
	return f.interrupted || !f.deadline.IsZero() && !time.Now().Before(f.deadline)
}

// await waits until something has changed, or the deadline.
func (f *inflow) await() {
	f.mu.Lock()
	until := f.deadline
	f.mu.Unlock()
	awaitUntil(f.wake, until)
}

// awaitUntil waits for wake, or until a time, unless that is zero.
func awaitUntil(wake <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-wake
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	}
}

// An outflow is what goes to a client over a link.
type outflow struct {
	turn sync.Mutex    // held over a write
	wake chan struct{} // an element has a write that waits look again

	mu       sync.Mutex // guards what follows
	sent     uint64     // bytes
	granted  uint64     // bytes that may be sent
	received uint64     // bytes that the client's system has
	progress int64      // grows with what it takes
	asked    bool       // a state is on its way
	cut      bool
	ended    bool  // nothing more is written
	err      error // writes fail
}

// take takes leave to send n bytes or fewer; none where the caller has to wait.
func (f *outflow) take(n int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.cut:
		return 0, ErrCut
	case f.err != nil:
		return 0, f.err
	case f.ended:
		return 0, linkError("write", syscall.EPIPE)
	}
	n = int(min(uint64(n), f.granted-f.sent))
	f.sent += uint64(n)
	return n, nil
}

// grant has more bytes sent.
func (f *outflow) grant(p []byte) error {
	n := binary.BigEndian.Uint64(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.sent+2*fullGrant {
		return errGrant
	}
	f.granted = max(f.granted, n)
	poke(f.wake)
	return nil
}

// state takes a frame of what the client's system has.
func (f *outflow) state(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := binary.BigEndian.Uint64(p)
	if n > f.sent {
		return errGrant
	}
	f.received, f.progress, f.asked = max(f.received, n), max(f.progress, int64(binary.BigEndian.Uint64(p[8:]))), false
	return nil
}

// end has nothing more written. It is the first to do so, or reports false.
func (f *outflow) end() (first bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first = !f.ended && f.err == nil
	f.ended = true
	return first, f.err
}

// fail has writes fail.
func (f *outflow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	poke(f.wake)
}

// ask says what is known, and whether a state is to be asked for: there is none on its way, and one might say more.
func (f *outflow) ask(always bool) (missing int, progress int64, ask bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	missing, progress = int(f.sent-f.received), f.progress
	if f.err == nil && !f.asked && (missing > 0 || always) {
		f.asked, ask = true, true
	}
	return missing, progress, ask, f.err
}
