package tcpserver

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

func asNet(err error, to *net.Error) bool { return errors.As(err, to) }

// random makes bytes of which no two parts are alike.
func random(n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(p)
	return p
}

// readSlowly reads everything, a little at a time, and gives it when the server has closed.
func readSlowly(p *peer, some int, pause time.Duration) <-chan []byte {
	all := make(chan []byte, 1)
	go func() {
		var got []byte
		buf := make([]byte, some)
		for {
			n, err := p.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				all <- got
				return
			}
			time.Sleep(pause) // this is what the reader is slow with
		}
	}()
	return all
}

func TestAPeerThatHasLeftIsSeenAndWhatItSentIsThere(t *testing.T) {
	for name, leave := range map[string]func(*peer){"a close": (*peer).die, "a reset": (*peer).reset} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(r *rig) {
				c, p := r.connect()
				if c.HasLeft() {
					r.Error("it has left at once")
				}
				if _, err := io.WriteString(p, stream); err != nil {
					r.Fatal(err)
				}
				leave(p)
				brokertest.Await(r, bound, "it has left", c.HasLeft)
				if name == "a close" {
					r.mustRead(c, stream)
				}
			})
		})
	}
}

// Nothing of what was written is lost, or comes twice, however often the time is over.
func TestAWriteThatTimedOutGoesOn(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.narrow()
		want := random(1 << 20)
		var all <-chan []byte
		timeouts := 0
		for rest := want; ; {
			n, err := c.Write(rest, time.Millisecond)
			rest = rest[n:]
			if err == nil {
				break
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				r.Fatal(err)
			}
			if timeouts++; timeouts == 3 {
				all = readSlowly(p, 40_000, 0)
			}
		}
		if timeouts < 3 {
			r.Fatalf("%d time-outs", timeouts)
		}
		c.Close()
		if got := <-all; !bytes.Equal(got, want) {
			r.Errorf("%d bytes came of %d, or others", len(got), len(want))
		}
	})
}

// The time of a write that had to wait, and of one that did not, ends nothing later.
func TestTheTimeOfAWriteEndsNoLaterOne(t *testing.T) {
	overBoth(t, func(r *rig) {
		const within = 20 * time.Millisecond
		c, p := r.narrow()
		r.write(c, "small")
		large := random(1 << 20)
		written, err := c.Write(large, within)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			r.Fatalf("%d bytes are written, %v", written, err)
		}
		all := readSlowly(p, 1<<20, 0)
		r.write(c, string(large[written:]))
		over := time.Now().Add(within)
		brokertest.Await(r, bound, "the time is over", func() bool { return time.Now().After(over) })
		r.write(c, "more")
		c.Close()
		if got := <-all; string(got) != "small"+string(large)+"more" {
			r.Errorf("%d bytes came, or others", len(got))
		}
	})
}

func TestAReaderThatStallsIsGivenUpAndASlowOneIsNot(t *testing.T) {
	const limit = 400 * time.Millisecond
	want := random(1_000_000)
	pieces := func() [][]byte { return [][]byte{want[:200_000], {}, want[200_000:200_010], want[200_010:]} }
	t.Run("stalls", func(t *testing.T) {
		overBoth(t, func(r *rig) {
			c, _ := r.narrow()
			n, err := c.WriteAll(limit, pieces()...)
			if !errors.Is(err, os.ErrDeadlineExceeded) || n == int64(len(want)) {
				r.Errorf("%d bytes are written, %v", n, err)
			}
		})
	})
	t.Run("slow", func(t *testing.T) {
		overBoth(t, func(r *rig) {
			c, p := r.narrow()
			all := readSlowly(p, 10_000, 10*time.Millisecond) // takes longer than limit
			n, err := c.WriteAll(limit, pieces()...)
			if err != nil || n != int64(len(want)) {
				r.Fatalf("%d bytes are written, %v", n, err)
			}
			c.Close()
			if got := <-all; !bytes.Equal(got, want) {
				r.Errorf("%d bytes came of %d, or others", len(got), len(want))
			}
		})
	})
}

func TestWhatIsNotAcknowledgedIsCounted(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.narrow()
		await := func(what string, holds func(n int) bool) {
			r.Helper()
			brokertest.Await(r, bound, what, func() bool {
				n, err := c.Unacknowledged()
				if err != nil {
					r.Fatal(err)
				}
				return holds(n)
			})
		}
		r.write(c, "a greeting")
		await("all is acknowledged", func(n int) bool { return n == 0 })
		r.mustRead(p, "a greeting")
		p1 := random(8 << 20)
		written, err := c.Write(p1, 10*moment)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			r.Fatalf("%d bytes are written, %v", written, err)
		}
		await("something waits", func(n int) bool { return n > 0 })
		if over, ok := c.(*tlsConn); ok {
			inSystem, _ := over.socket.Unacknowledged()
			if n, _ := c.Unacknowledged(); over.records.len() == 0 || n < inSystem+over.records.len() {
				r.Errorf("%d bytes are not acknowledged; the system has %d and the connection %d", n, inSystem, over.records.len())
			}
		}
		all := readSlowly(p, 1<<20, 0)
		r.write(c, string(p1[written:]))
		await("all is acknowledged", func(n int) bool { return n == 0 })
		c.Close()
		if got := <-all; !bytes.Equal(got, p1) {
			r.Errorf("%d bytes came of %d, or others", len(got), len(p1))
		}
		c2, dead := r.connect()
		dead.reset()
		brokertest.Await(r, bound, "the reset is seen", func() bool {
			_, err := c2.Unacknowledged()
			return err != nil
		})
	})
}

func TestCutWritesEndsWritesForGood(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, _ := r.narrow()
		written := make(chan error, 1)
		go func() {
			_, err := c.WriteAll(never, make([]byte, 16<<20))
			written <- err
		}()
		brokertest.Await(r, bound, "it waits", func() bool {
			n, err := c.Unacknowledged()
			return err == nil && n > 0
		})
		c.CutWrites()
		if err := r.within(written); err != ErrCut {
			r.Errorf("the write ends with %v", err)
		}
		if _, err := c.Write([]byte("more"), bound); err != ErrCut {
			r.Errorf("the next ends with %v", err)
		}
	})
}

func TestInterruptEndsReadsUntilResume(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		var buf [10]byte
		mustEnd := func(err error) {
			r.Helper()
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				r.Errorf("the read ends with %v", err)
			}
		}
		ended := make(chan error, 1)
		go func() {
			_, err := c.Read(buf[:])
			ended <- err
		}()
		c.Interrupt()
		mustEnd(r.within(ended))
		if _, err := io.WriteString(p, "bytes that have come"); err != nil {
			r.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(bound))
		_, err := c.Read(buf[:])
		mustEnd(err)
		_, err = c.ReadInto(&lender{r: r})
		mustEnd(err)
		if !c.IsInterrupted() {
			r.Error("it is not interrupted")
		}
		c.Resume(time.Now().Add(bound))
		r.mustRead(c, "bytes that have come")
		c.SetReadDeadline(time.Now().Add(moment))
		_, err = c.Read(buf[:])
		mustEnd(err)
	})
}

// A lender lends a buffer of a random size for each read.
type lender struct {
	r    *rig
	rng  *rand.Rand
	lent []byte
}

func (l *lender) Space() []byte {
	size := 100
	if l.rng != nil {
		size = 1 + l.rng.IntN(5000)
	}
	l.lent = make([]byte, size)
	return l.lent
}

func (l *lender) Idle() {
	for i := range l.lent {
		l.lent[i] = '!' // it must not be used any more
	}
	l.lent = nil
}

func TestReadIntoReadsEverythingAndHoldsNothingWhileItWaits(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		want := random(300_000)
		go func() {
			rng := rand.New(rand.NewPCG(1, 2))
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+rng.IntN(20_000))
				if _, err := p.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
				if rng.IntN(4) == 0 {
					time.Sleep(time.Millisecond) // the reader is to wait, at times
				}
			}
			p.closeWrite()
		}()
		l := &lender{r: r, rng: rand.New(rand.NewPCG(3, 4))}
		var got []byte
		for {
			n, err := c.ReadInto(l)
			if err == io.EOF {
				break
			}
			if err != nil {
				r.Fatal(err)
			}
			got = append(got, l.lent[:n]...)
		}
		if !bytes.Equal(got, want) {
			r.Errorf("%d bytes came of %d, or others", len(got), len(want))
		}
		waits := &signal{idle: make(chan struct{})}
		c2, _ := r.connect()
		ended := make(chan error, 1)
		go func() {
			_, err := c2.ReadInto(waits)
			ended <- err
		}()
		brokertest.Within(r, bound, "the buffer is given back", func() { <-waits.idle })
		c2.Interrupt()
		if err := r.within(ended); !errors.Is(err, os.ErrDeadlineExceeded) {
			r.Error(err)
		}
		c3, p3 := r.connect()
		if _, err := io.WriteString(p3, "bytes"); err != nil {
			r.Fatal(err)
		}
		if _, err := c3.ReadInto(full{}); err != ErrNoSpace {
			r.Errorf("without space: %v", err)
		}
	})
}

type signal struct{ idle chan struct{} }

func (s *signal) Space() []byte { return make([]byte, 1) }
func (s *signal) Idle()         { close(s.idle) }

type full struct{}

func (full) Space() []byte { return nil }
func (full) Idle()         {}

func TestBytesOfAFileGoOverTCPOnly(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		err := c.WriteRaw(bound, func(fd uintptr) bool {
			_, err := syscall.Write(int(fd), []byte(stream))
			return err != syscall.EAGAIN
		})
		if r.client != nil || r.link != nil {
			if !errors.Is(err, errors.ErrUnsupported) || c.AllowsRaw() {
				r.Errorf("allowed: %v, %v", c.AllowsRaw(), err)
			}
			return
		}
		if err != nil || !c.AllowsRaw() {
			r.Errorf("allowed: %v, %v", c.AllowsRaw(), err)
		}
		r.mustRead(p, stream)
	})
}
