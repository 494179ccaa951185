package tcpserver

import (
	"io"
	"net"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// patient are times that no peer of a test is too slow for, but for those that a test sets.
func patient() CloseTimes {
	return CloseTimes{Asked: time.Now(), Acknowledge: bound, HalfClose: 0, Reset: moment, Close: never}
}

const stream = "first\nsecond\n"

// What a peer does with a stream, whether that counts as read, and with which times.
var ends = map[string]struct {
	peer  func(r *rig, p *peer) // before the server closes
	after func(r *rig, p *peer) // once it has; nil for nothing
	times func(*CloseTimes)
	read  bool
}{
	"reads all and closes": {
		after: func(r *rig, p *peer) { r.readAll(p); p.Close() },
		read:  true,
	},
	"reads all and half-closes": {
		after: func(r *rig, p *peer) { r.readAll(p); p.closeWrite() },
		read:  true,
	},
	"reads all and resets": {
		after: func(r *rig, p *peer) { r.readAll(p); p.reset() },
	},
	"closes with bytes unread": {
		after: func(r *rig, p *peer) { r.awaitUnread(p, len(stream)); p.Close() },
	},
	"half-closes early, reads all and closes": {
		peer:  func(_ *rig, p *peer) { p.closeWrite() },
		after: func(r *rig, p *peer) { r.readAll(p); p.Close() },
		times: func(t *CloseTimes) { t.HalfClose = never },
		read:  true,
	},
	"half-closes early and resets": {
		peer: func(r *rig, p *peer) {
			p.closeWrite()
			r.awaitUnread(p, len(stream))
			p.reset()
		},
		times: func(t *CloseTimes) { t.HalfClose, t.Reset = never, never },
	},
	"half-closes early and closes with bytes unread": {
		peer: func(r *rig, p *peer) {
			p.closeWrite()
			r.awaitUnread(p, len(stream))
			p.die()
		},
		times: func(t *CloseTimes) { t.HalfClose, t.Reset = never, never },
	},
	"never closes": {
		after: func(r *rig, p *peer) { r.readAll(p) },
		times: func(t *CloseTimes) { t.Close = moment },
	},
	"goes on sending": {
		after: func(r *rig, p *peer) {
			go func() {
				for {
					if _, err := p.Write(make([]byte, 100)); err != nil {
						return
					}
				}
			}()
		},
		times: func(t *CloseTimes) { t.Close = moment },
	},
}

func TestAPeerCountsAsOneThatHasReadOnlyWhenThatIsCertain(t *testing.T) {
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(r *rig) {
				c, p := r.connect()
				c.Observe()
				r.write(c, stream)
				times := patient()
				if end.times != nil {
					end.times(&times)
				}
				if end.peer != nil {
					end.peer(r, p)
				}
				confirmed := make(chan error, 1)
				go func() { confirmed <- ConfirmClose(c, times) }()
				if end.after != nil {
					end.after(r, p)
				}
				if err := r.within(confirmed); (err == nil) != end.read {
					r.Errorf("ConfirmClose: %v", err)
				}
			})
		})
	}
}

// The program has died after its system had everything: over TCP that looks like a close in
// good order, over TLS it does not.
func TestOverTLSADeadPeerHasReadNothing(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		r.write(c, stream)
		confirmed := make(chan error, 1)
		go func() { confirmed <- ConfirmClose(c, patient()) }()
		r.readAll(p)
		p.die()
		if err, overTLS := r.within(confirmed), r.client != nil; (err != nil) != overTLS {
			r.Errorf("over TLS: %v; ConfirmClose: %v", overTLS, err)
		}
	})
}

// A program that closes with bytes unread sends a close_notify, and its system a reset.
func TestOverTLSAResetAfterTheCloseNotifyIsAwaited(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, p := r.connect()
	r.write(c, stream)
	times := patient()
	times.Reset = never
	confirmed := make(chan error, 1)
	go func() { confirmed <- ConfirmClose(c, times) }()
	r.readAll(p) // so that the close_notify comes after the server's
	p.closeWrite()
	select {
	case err := <-confirmed:
		t.Fatalf("it does not wait: %v", err)
	case <-time.After(moment): // this is how long it is watched
	}
	p.reset()
	if err := r.within(confirmed); err == nil {
		t.Error("it counts as read")
	}
}

// Where a peer half-closes after the end with much unread no reset comes any more.
func TestHalfClosingAtTheEndWithMuchUnreadIsSeen(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		c.Observe()
		r.write(c, string(make([]byte, 50_000)))
		confirmed := make(chan error, 1)
		go func() { confirmed <- ConfirmClose(c, patient()) }()
		brokertest.Await(r, bound, "the end comes", func() bool {
			has, err := brokertest.HasEnd(p.tcp)
			return err == nil && has
		})
		p.closeWrite()
		if err := r.within(confirmed); err == nil {
			r.Error("it counts as read")
		}
	})
}

func TestCloseInOrderWaitsForThePeerOnly(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		r.write(c, stream)
		closed := make(chan error, 1)
		times := patient()
		times.HalfClose, times.Reset = never, never
		go func() { closed <- CloseInOrder(c, times) }()
		r.readAll(p)
		p.Close()
		if err := r.within(closed); err != nil {
			r.Error(err)
		}
	})
}

// A peer that sends more than is read still gets the last line.
func TestTheLastLineComesAlthoughThePeerSends(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		if _, err := p.Write(make([]byte, 10_000)); err != nil {
			r.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			WriteLast(c, "-BUSY\n", bound)
			c.Close()
		}()
		if text, err := io.ReadAll(p); string(text) != "-BUSY\n" || err != nil {
			r.Errorf("%q, %v", text, err)
		}
		p.Close()
		<-ended
	})
}

// readAll reads until the server closes in good order.
func (r *rig) readAll(p *peer) {
	r.Helper()
	if text, err := io.ReadAll(p); string(text) != stream || err != nil {
		r.Errorf("%q, %v", text, err)
	}
}

func (r *rig) within(ended <-chan error) (err error) {
	r.Helper()
	brokertest.Within(r, bound, "it ends", func() { err = <-ended })
	return err
}

func TestAHalfClosedPeerGetsTheRest(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		if _, err := io.WriteString(p, "request\n"); err != nil {
			r.Fatal(err)
		}
		p.closeWrite()
		if text, err := io.ReadAll(c); string(text) != "request\n" || err != nil {
			r.Fatalf("%q, %v", text, err)
		}
		if closed, err := c.PeerClosed(); !closed || err != nil {
			r.Errorf("closed: %v, %v", closed, err)
		}
		r.write(c, "response\n")
		if err := c.CloseWrite(); err != nil {
			r.Fatal(err)
		}
		if text, err := io.ReadAll(p); string(text) != "response\n" || err != nil {
			r.Errorf("%q, %v", text, err)
		}
	})
}

func TestPeerClosedDoesNotWait(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		mustBe := func(want bool) {
			r.Helper()
			if closed, err := c.PeerClosed(); closed != want || err != nil {
				r.Fatalf("closed: %v, %v", closed, err)
			}
		}
		mustBe(false)
		if _, err := p.Write(make([]byte, 5000)); err != nil {
			r.Fatal(err)
		}
		mustBe(false)
		p.closeWrite()
		brokertest.Await(r, bound, "the end comes", func() bool {
			closed, err := c.PeerClosed()
			return closed && err == nil
		})
		mustBe(true)
		p.reset()
		brokertest.Await(r, bound, "the reset comes", func() bool {
			_, err := c.PeerClosed()
			return err != nil
		})
	})
}

func TestAnAbortIsNoEnd(t *testing.T) {
	for name, abort := range map[string]func(Conn){
		"abort":          Conn.Abort,
		"reset on close": func(c Conn) { c.ResetOnClose(true); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(r *rig) {
				c, p := r.connect()
				r.write(c, stream)
				abort(c)
				if text, err := io.ReadAll(p); err == nil {
					r.Errorf("%q came, and an end in good order", text)
				}
			})
		})
	}
}

func TestACloseIsAnEnd(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		c.ResetOnClose(true)
		r.write(c, stream)
		c.ResetOnClose(false)
		c.Close()
		r.readAll(p)
	})
}

func TestAwaitResetWaitsForOne(t *testing.T) {
	for name, end := range map[string]func(Conn, *peer){
		"a reset":      func(_ Conn, p *peer) { p.reset() },
		"an interrupt": func(c Conn, _ *peer) { c.Interrupt() },
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(r *rig) {
				c, p := r.connect()
				p.closeWrite()
				if _, err := io.Copy(io.Discard, c); err != nil {
					r.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- c.AwaitReset() }()
				select {
				case err := <-ended:
					r.Fatalf("it does not wait: %v", err)
				case <-time.After(moment): // this is how long it is watched
				}
				end(c, p)
				if err := r.within(ended); err == nil {
					r.Error("no error")
				}
			})
		})
	}
}

// Over TLS the end of the socket without a close_notify is an error.
func TestAnEndWithoutCloseNotifyIsAnAbort(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		if _, err := io.WriteString(p, "half a mess"); err != nil {
			r.Fatal(err)
		}
		p.die()
		text, err := io.ReadAll(c)
		var isNet net.Error
		if overTLS := r.client != nil; string(text) != "half a mess" || (err != nil) != overTLS {
			r.Errorf("%q, %v", text, err)
		} else if overTLS && !asNet(err, &isNet) {
			r.Errorf("%v is no error of the connection", err)
		}
	})
}
