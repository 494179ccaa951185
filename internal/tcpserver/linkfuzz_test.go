package tcpserver

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"

	"mbus/test/brokertest"
)

var someHello = Hello{
	Port: "producers", Remote: netip.MustParseAddrPort("192.0.2.1:1000"), Local: netip.MustParseAddrPort("[2001:db8::1%eth0]:9990"),
	Private: true, TLS: true, Certificate: "client \xff\x00", ServerName: "bus.example",
}

// frame is a frame as it is sent.
func frame(k kind, body ...byte) []byte {
	p := make([]byte, frameHeader, frameHeader+len(body))
	putHeader(p, k, len(body))
	return append(p, body...)
}

func FuzzHello(f *testing.F) {
	whole, err := someHello.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append(whole, "of a later version"...))
	f.Add([]byte(greeting))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := parseHello(p)
		if err != nil {
			return
		}
		again, err := h.append(nil)
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if same, err := parseHello(again); same != h || err != nil {
			t.Errorf("%+v, %v, not %+v", same, err, h)
		}
	})
}

func TestAHelloComesAsItIsSent(t *testing.T) {
	p, err := someHello.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := parseHello(p); h != someHello || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
	for i := range p {
		if _, err := parseHello(p[:i]); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
	for _, name := range []string{string(make([]byte, maxHello)), string(make([]byte, 1<<17))} {
		long := someHello
		long.Certificate = name
		if _, err := long.append(nil); err == nil {
			t.Errorf("a name of %d bytes fits", len(name))
		}
	}
}

func FuzzConfirm(f *testing.F) {
	f.Add(appendConfirm(nil, closeLast, []byte("0\r\n\r\n"), patient()), appendVerdict(nil, errCrossed))
	f.Add([]byte{9}, []byte{verdictOther, 'x'})
	f.Fuzz(func(t *testing.T, confirm, verdict []byte) {
		if how, last, times, err := parseConfirm(confirm); err == nil {
			if again := appendConfirm(nil, how, last, times); len(again) != len(confirm) || !bytes.Equal(again[9:], confirm[9:]) {
				t.Errorf("%x, not %x", again, confirm)
			}
		}
		if err := parseVerdict(verdict); err == nil && !bytes.HasPrefix(verdict, []byte{verdictRead}) {
			t.Errorf("%x counts as read", verdict)
		}
	})
}

func TestAVerdictComesAsItIs(t *testing.T) {
	for _, err := range verdicts {
		if got := parseVerdict(appendVerdict(nil, err)); !errors.Is(got, err) || (got == nil) != (err == nil) {
			t.Errorf("%v, not %v", got, err)
		}
	}
	if err := parseVerdict(appendVerdict(nil, errors.New(string(make([]byte, 2*maxText))))); err == nil {
		t.Error("an error is none")
	}
}

// Whatever another node sends: neither end fails, holds more than it has granted, or stays when the link ends.
func FuzzLink(f *testing.F) {
	join := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	f.Add(join(frame(frameData, []byte(stream)...), frame(frameEnd), frame(frameReset, 0, 0, 0, 104)), 3)
	f.Add(join(frame(frameWelcome), frame(frameAsk), frame(frameObserve), frame(frameData, 'x'), frame(frameEnd), frame(frameClose)), 100)
	f.Add(join(frame(frameConfirm, appendConfirm(nil, closeRead, nil, CloseTimes{})...), frame(frameClose)), 100)
	f.Add(join(frame(frameGrant, make([]byte, 8)...), frame(frameState, make([]byte, 16)...), frame(frameFailed, 0, 0, 0, 32)), 1)
	f.Add(join(frame(frameConfirmed, verdictOther, 'x'), frame(frameAdmitted), frame(frameElsewhere)), 7)
	f.Add(join(frame(frameData, make([]byte, maxData)...), frame(frameData, make([]byte, maxData)...)), 1000)
	f.Fuzz(func(t *testing.T, sent []byte, pieces int) {
		feed := func(handle func(kind, []byte) error) {
			w := new(wire)
			for rest := sent; len(rest) > 0; {
				space := w.Space()
				if len(space) == 0 || cap(w.buf) > largeOutput {
					t.Fatalf("space for %d bytes of %d", len(space), cap(w.buf))
				}
				n := copy(space, rest[:min(len(rest), max(pieces, 1))])
				rest = rest[n:]
				if w.w += n; w.handleAll(handle) != nil {
					return
				}
			}
		}
		owner := newLinkConn(new(wire), someHello)
		feed(owner.handle)
		if n := len(owner.in.bytes.bytes()); n > firstGrant {
			t.Errorf("%d bytes are held", n)
		}
		carry, link := newPair(t)
		client, peer := newPair(t)
		go io.Copy(io.Discard, peer)
		go func() {
			link.Write(sent)
			link.Close()
		}()
		brokertest.Within(t, bound, "the carrier ends", func() { _ = Carry(client, carry, someHello) })
	})
}

// A link goes on behind a frame however its bytes come.
func TestFramesMayComeInAnyPieces(t *testing.T) {
	var all []byte
	for i := range 40 {
		all = append(all, frame(frameData, random(1+i*i*i%maxData)...)...)
		all = append(all, frame(frameBeat)...)
	}
	for _, size := range []int{1, 3, 1000, 10_000, 1 << 20} {
		w, got := new(wire), []byte(nil)
		for rest := all; len(rest) > 0; {
			n := copy(w.Space(), rest[:min(size, len(rest))])
			rest = rest[n:]
			w.w += n
			err := w.handleAll(func(k kind, body []byte) error {
				got = append(got, frame(k, body...)...)
				got = append(got, frame(frameBeat)...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if w.Idle(); w.r < w.w && w.mem == nil {
				t.Fatal("a part of a frame is lost")
			}
		}
		if !bytes.Equal(got, all) {
			t.Errorf("in pieces of %d bytes: %d bytes of %d, or others", size, len(got), len(all))
		}
	}
}
