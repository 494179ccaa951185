package tcpserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A road takes links to the owner, and breaks the first of them at a frame.
type road struct {
	*testing.T
	mu     sync.Mutex // guards what follows
	toward [2][]kind  // frames that have passed: to the owner, and to the carrier
	at     int        // how many frames that way pass before it breaks
	way    int
	how    breakage
	done   chan struct{} // closed when it has broken
	ended  chan struct{} // closed at the end of the test
}

// A breakage is how a link ends.
type breakage func(ends [2]*net.TCPConn, part []byte)

// Breakages. Each may come behind a part of a frame.
var breakages = map[string]breakage{
	"a reset": func(ends [2]*net.TCPConn, _ []byte) {
		for _, c := range ends {
			c.SetLinger(0)
			c.Close()
		}
	},
	"an end": func(ends [2]*net.TCPConn, _ []byte) {
		for _, c := range ends {
			c.CloseWrite()
		}
	},
	"an end in a frame": func(ends [2]*net.TCPConn, part []byte) {
		ends[1].Write(part)
		for _, c := range ends {
			c.CloseWrite()
		}
	},
	"a freeze": func([2]*net.TCPConn, []byte) {},
}

const (
	toOwner = iota
	toCarrier
)

func newRoad(t *testing.T, way, at int, how breakage) *road {
	r := &road{T: t, way: way, at: at, how: how, done: make(chan struct{}), ended: make(chan struct{})}
	t.Cleanup(func() { close(r.ended) })
	return r
}

// open begins to take links.
func (r *road) open(to string) (address string) {
	l := listen(r)
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			carrier, err := l.Accept()
			if err != nil {
				return
			}
			owner, err := net.Dial("tcp", to)
			if err != nil {
				carrier.Close()
				return
			}
			ends := [2]*net.TCPConn{owner.(*net.TCPConn), carrier.(*net.TCPConn)}
			r.Cleanup(func() { owner.Close(); carrier.Close() })
			broken := make(chan struct{})
			go r.pass(toOwner, ends[1], ends[0], broken)
			go r.pass(toCarrier, ends[0], ends[1], broken)
		}
	}()
	return l.Addr().String()
}

// pass passes frames on one way.
func (r *road) pass(way int, from, to *net.TCPConn, broken chan struct{}) {
	defer to.CloseWrite()
	for {
		var header [frameHeader]byte
		if _, err := io.ReadFull(from, header[:]); err != nil {
			if !errors.Is(err, io.EOF) {
				to.SetLinger(0)
				to.Close()
			}
			return
		}
		frame := append(header[:], make([]byte, int(binary.BigEndian.Uint32(header[:])&0xffffff))...)
		if _, err := io.ReadFull(from, frame[frameHeader:]); err != nil {
			return
		}
		if r.breaks(way, kind(header[0])) {
			r.how([2]*net.TCPConn{from, to}, frame[:len(frame)/2])
			close(broken)
			close(r.done)
		}
		select {
		case <-broken: // the other way, too
			<-r.ended
			return
		default:
		}
		if _, err := to.Write(frame); err != nil {
			return
		}
	}
}

// breaks says whether the road breaks in place of a frame, which passes otherwise.
func (r *road) breaks(way int, k kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if way == r.way && len(r.toward[way]) == r.at {
		r.at = -1
		return true
	}
	if k != frameBeat {
		r.toward[way] = append(r.toward[way], k)
	}
	return false
}

func (r *road) hasBroken() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// passed says whether one of some kinds of frames has passed.
func (r *road) passed(way int, kinds ...kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.toward[way], func(k kind) bool { return slices.Contains(kinds, k) })
}

// hasty are times of links that are soon over.
var hasty = linkTimes{greet: bound, beat: 20 * time.Millisecond, silence: 200 * time.Millisecond, moment: time.Millisecond, pause: bound, stall: bound}

// Whatever breaks a link, and at whatever frame: the client never sees an end that the owner did not make, the owner
// sees none that the client did not, and nothing counts as read but by the verdict of the client's node. Neither waits
// for ever.
func TestALinkThatBreaksIsAReset(t *testing.T) {
	for name, how := range breakages {
		for way, direction := range []string{"to the owner", "to the carrier"} {
			t.Run(name+", "+direction, func(t *testing.T) {
				t.Parallel()
				for _, life := range []func(*rig, *road){drainOnce, produceOnce} {
					for at, broke := 0, true; broke; at++ {
						t.Run(fmt.Sprint(at), func(t *testing.T) {
							road := newRoad(t, way, at, how)
							r := newLinkedRigWith(t, false, Limits{Connections: 10}, hasty, road.open)
							life(r, road)
							broke = road.hasBroken()
						})
					}
				}
			})
		}
	}
}

// drainOnce is a client that asks for messages and reads them to the end.
func drainOnce(r *rig, road *road) {
	p := r.dial(net.Dialer{})
	io.WriteString(p, "orders\n")
	ended := r.eachAccepted(func(c Conn) {
		var err error
		if err = readLine(c); err == nil {
			c.Observe()
			if _, err = c.Write([]byte(stream), bound); err == nil {
				err = ConfirmClose(c, patient())
			}
		}
		if err == nil && !road.passed(toOwner, frameConfirmed) {
			r.Error("it counts as read without a verdict")
		}
		c.ResetOnClose(err != nil)
		r.release <- struct{}{} // which closes
	})
	text, err := io.ReadAll(p)
	if isTimeout(err) {
		r.Fatal("the client waits for ever")
	}
	if err == nil {
		if string(text) != stream || !road.passed(toCarrier, frameConfirm, frameClose) {
			r.Errorf("the client has an end behind %q; passed have %v", text, road.toward)
		}
	}
	p.Close()
	ended()
}

// eachAccepted calls f with each connection, one after the other, until end is called. That waits.
func (r *rig) eachAccepted(f func(Conn)) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case c := <-r.accepted:
				f(c)
			case <-stop:
				return
			}
		}
	}()
	return func() {
		r.Helper()
		close(stop)
		brokertest.Within(r, bound, "the owner ends", func() { <-ended })
	}
}

// produceOnce is a client that sends messages, and its end.
func produceOnce(r *rig, road *road) {
	p := r.dial(net.Dialer{})
	io.WriteString(p, stream)
	p.closeWrite()
	ended := r.eachAccepted(func(c Conn) {
		text, err := io.ReadAll(c)
		if err == nil && (string(text) != stream || !road.passed(toOwner, frameEnd)) {
			r.Errorf("the owner has an end behind %q; passed have %v", text, road.toward)
		}
		if err == nil {
			WriteLast(c, "+2\n", bound)
		}
		c.ResetOnClose(err != nil)
		r.release <- struct{}{} // which closes
	})
	text, err := io.ReadAll(p)
	if isTimeout(err) {
		r.Fatal("the client waits for ever")
	}
	if err == nil && (string(text) != "+2\n" || !road.passed(toCarrier, frameEnd, frameClose)) {
		r.Errorf("the client has an end behind %q; passed have %v", text, road.toward)
	}
	p.Close()
	ended()
}

// readLine reads up to an LF.
func readLine(c Conn) error {
	for p := []byte{0}; p[0] != '\n'; {
		if _, err := c.Read(p); err != nil {
			return err
		}
	}
	return nil
}

// A node that stands still is seen while nothing else happens, and in the middle of a clean close.
func TestANodeThatIsFrozenIsSeen(t *testing.T) {
	for name, waits := range map[string]func(Conn) error{
		"a read":        func(c Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"a write":       func(c Conn) error { _, err := c.WriteAll(never, make([]byte, 1<<20)); return err },
		"a clean close": func(c Conn) error { return ConfirmClose(c, patient()) },
		"a reset":       Conn.AwaitReset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			road := newRoad(t, toOwner, 2, breakages["a freeze"])
			r := newLinkedRigWith(t, false, Limits{Connections: 10}, hasty, road.open)
			c, p := r.connect()
			io.WriteString(p, "first")
			r.mustRead(c, "first")
			ended := make(chan error, 1)
			go func() { ended <- waits(c) }()
			io.WriteString(p, "second") // at which the road freezes
			if err := r.within(ended); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it ends with %v", err)
			}
			_, err := io.Copy(io.Discard, p)
			if isEnd := name == "a clean close"; isTimeout(err) || (err == nil) != isEnd {
				t.Errorf("the client has %v, and no reset", err)
			}
		})
	}
}
