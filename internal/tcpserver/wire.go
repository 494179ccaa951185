package tcpserver

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// LinkTimes are those of links. Tests have shorter ones.
type linkTimes struct {
	greet   time.Duration // for the handshake and the hello of a link
	beat    time.Duration // after which a node that has nothing to send sends a beat
	silence time.Duration // without a frame, after which a link counts as broken
	moment  time.Duration // that a write to a client may hold up the frames that follow
	pause   time.Duration // between two looks at a client that takes its time, at most
	stall   time.Duration // in which a client must take some of the bytes that wait for it when the owner has closed
}

// A node that is frozen keeps its connections open: it is seen within 10 s, by the silence and the beat. One that
// wakes finds the same, whatever has come meanwhile.
var usualTimes = linkTimes{
	greet: 5 * time.Second, beat: 2500 * time.Millisecond, silence: 7500 * time.Millisecond,
	moment: 2 * time.Millisecond, pause: 10 * time.Second, stall: time.Minute,
}

// errSilent ends a link whose other end is frozen, or out of reach, or where this end was.
var errSilent = errors.New("nothing came from the other node for too long")

// A wire is one end of a link: frames, both ways. One goroutine reads, several may write.
type wire struct {
	conn  Conn
	times linkTimes
	began time.Time
	heard atomic.Int64 // when something came last, in nanoseconds from began on
	wrote atomic.Int64 // likewise

	mu    sync.Mutex // held over a write, guards small
	small [frameHeader + 64]byte

	buf     []byte  // buf[r:w] has come and is not used yet
	mem     *[]byte // that buf is, of pool; nil for none
	pool    *sync.Pool
	r, w    int
	isLarge bool // large buffers suit what comes
	expects kind // of the next frame; 0 for any
}

func newWire(c Conn, t linkTimes) *wire { return &wire{conn: c, times: t, began: time.Now()} }

func (w *wire) now() int64 { return int64(time.Since(w.began)) }

// isSilent says whether nothing has come for too long, be it that this end did not look.
func (w *wire) isSilent() bool { return time.Duration(w.now()-w.heard.Load()) > w.times.silence }

// send sends a frame. It does not wait for long: the other end always reads.
func (w *wire) send(k kind, body ...byte) error {
	p := w.small[:]
	if n := frameHeader + len(body); n > len(p) {
		mem := largeOutputs.Get().(*[]byte)
		defer largeOutputs.Put(mem)
		p = (*mem)[:n]
		copy(p[frameHeader:], body)
		return w.sendFrame(k, p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(k, p[:frameHeader+copy(p[frameHeader:], body)])
}

// sendFrame sends a frame whose body is p behind the space for its header.
func (w *wire) sendFrame(k kind, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(k, p)
}

// write writes a frame whole, or breaks the link. The caller holds mu.
func (w *wire) write(k kind, p []byte) error {
	putHeader(p, k, len(p)-frameHeader)
	w.wrote.Store(w.now())
	_, err := w.conn.Write(p, w.times.silence)
	if err != nil {
		w.conn.Abort() // a part of a frame may have gone
	}
	return err
}

// run calls handle with each frame, until that or the link ends, which gives the error. The body is valid until
// handle returns.
func (w *wire) run(handle func(k kind, body []byte) error) error {
	defer w.drop()
	w.conn.SetReadDeadline(time.Now().Add(w.times.beat))
	for {
		n, err := w.conn.ReadInto(w)
		switch {
		case w.isSilent():
			return errSilent
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := w.beat(); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		w.w += n
		w.isLarge = w.w == len(w.buf)
		w.heard.Store(w.now())
		if err := w.handleAll(handle); err != nil {
			return err
		}
	}
}

// beat sends a sign of life where nothing else was sent.
func (w *wire) beat() error {
	w.conn.SetReadDeadline(time.Now().Add(w.times.beat))
	if time.Duration(w.now()-w.wrote.Load()) < w.times.beat {
		return nil
	}
	return w.send(frameBeat)
}

// handleAll handles the frames that have come whole.
func (w *wire) handleAll(handle func(kind, []byte) error) error {
	for w.w-w.r >= frameHeader {
		k, n, err := parseHeader(w.buf[w.r:])
		if err == nil && w.expects != 0 && k != w.expects {
			err = errFrame
		}
		if err != nil {
			return err
		}
		end := w.r + frameHeader + n
		if end > w.w {
			break
		}
		body := w.buf[w.r+frameHeader : end]
		w.r, w.expects = end, 0
		if k == frameBeat {
			continue
		}
		if err := handle(k, body); err != nil {
			return err
		}
	}
	return nil
}

// Space implements Buffer: there is space for the frame that has begun, and for more where much comes.
func (w *wire) Space() []byte {
	need := frameHeader
	if w.w-w.r >= frameHeader {
		_, n, _ := parseHeader(w.buf[w.r:]) // which handleAll has checked
		need += n
	}
	if w.r == w.w {
		w.r, w.w = 0, 0
	}
	large := w.isLarge || need > smallOutput
	if w.mem == nil || large && w.pool == &smallOutputs {
		w.move(large)
	}
	if w.r > 0 {
		w.r, w.w = 0, copy(w.buf, w.buf[w.r:w.w])
	}
	return w.buf[w.w:]
}

// Idle implements Buffer: a link that waits has no buffer.
func (w *wire) Idle() {
	if w.r == w.w {
		w.drop()
	}
}

// move moves what has come to another buffer.
func (w *wire) move(large bool) {
	pool := &smallOutputs
	if large {
		pool = &largeOutputs
	}
	mem := pool.Get().(*[]byte)
	buf := (*mem)[:cap(*mem)]
	n := copy(buf, w.buf[w.r:w.w])
	w.drop()
	w.buf, w.mem, w.pool, w.w = buf, mem, pool, n
}

func (w *wire) drop() {
	if w.mem != nil {
		w.pool.Put(w.mem)
	}
	w.buf, w.mem, w.pool, w.r, w.w = nil, nil, nil, 0, 0
}

// linkError makes an error of a link one of the connection that it carries.
func linkError(op string, err error) error { return &net.OpError{Op: op, Net: "link", Err: err} }

func errLate(op string) error { return linkError(op, os.ErrDeadlineExceeded) }
