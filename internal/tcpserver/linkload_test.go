package tcpserver

import (
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A client that takes nothing, and one that is not read from, hold up none of a thousand others.
func TestAClientThatStallsHoldsUpNoOther(t *testing.T) {
	brokertest.Slow(t)
	others := 1000
	if brokertest.Race {
		others = 100
	}
	r := newLinkedRig(t, false, Limits{Connections: others + 10})
	stalled, stalledPeer := r.connect()
	written := make(chan error, 1)
	go func() {
		_, err := stalled.WriteAll(never, make([]byte, 64<<20))
		written <- err
	}()
	_, flood := r.connect()
	go flood.Write(make([]byte, 64<<20)) // which fails at the end
	brokertest.Await(t, bound, "it stalls", func() bool { n, err := stalled.Unacknowledged(); return err == nil && n > 0 })
	var conns []Conn
	var peers []*peer
	for range others {
		c, p := r.connect()
		conns, peers = append(conns, c), append(peers, p)
	}
	for range 3 {
		for _, p := range peers {
			io.WriteString(p, stream)
		}
		for _, c := range conns {
			r.mustRead(c, stream)
			r.write(c, stream)
		}
		for _, p := range peers {
			r.mustRead(p, stream)
		}
	}
	select {
	case err := <-written:
		t.Errorf("the stalled one does not stall: %v", err)
	default:
	}
	stalledPeer.reset()
	if err := r.within(written); err == nil {
		t.Error("a write to a client that is gone succeeds")
	}
}

// What a carried client has both nodes hold is bounded, whatever it does: here both are one process.
func TestACarriedClientHoldsLittleMemory(t *testing.T) {
	brokertest.Slow(t)
	const clients = 200
	for name, test := range map[string]struct {
		most int // bytes of each
		do   func(r *rig, c Conn, p *peer)
	}{
		"it does nothing": {24 << 10, func(*rig, Conn, *peer) {}},
		"it floods before its log-in": {48 << 10, func(r *rig, c Conn, p *peer) {
			p.SetWriteDeadline(time.Now().Add(moment))
			p.Write(make([]byte, 1<<20))
		}},
		"it floods after its log-in": {110 << 10, func(r *rig, c Conn, p *peer) {
			r.conns.Admitted(c)
			p.SetWriteDeadline(time.Now().Add(moment))
			p.Write(make([]byte, 1<<20))
		}},
		"it reads nothing": {110 << 10, func(r *rig, c Conn, p *peer) {
			if n, err := c.Write(make([]byte, 1<<20), moment); !errors.Is(err, os.ErrDeadlineExceeded) {
				r.Fatalf("%d bytes are written, %v", n, err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLinkedRig(t, false, Limits{Connections: clients})
			before := liveBytes()
			var conns []Conn
			var peers []*peer
			for range clients {
				p := r.dial(small)
				(<-r.link.clients).SetWriteBuffer(16 << 10)
				c := <-r.accepted
				test.do(r, c, p)
				conns, peers = append(conns, c), append(peers, p)
			}
			var each int
			brokertest.Await(t, bound, "each client takes little", func() bool {
				each = (liveBytes() - before) / clients
				return each <= test.most || brokertest.Race
			})
			t.Logf("%d KiB each", each>>10)
			runtime.KeepAlive(conns)
			runtime.KeepAlive(peers)
		})
	}
}

// liveBytes is the memory in use: the heap and all stacks.
func liveBytes() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep things for one round
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// A client that takes its time gets all, also what waits when the owner has closed.
func TestAClientThatTakesItsTimeGetsAllBehindAClose(t *testing.T) {
	r := newLinkedRig(t, false, Limits{Connections: 10})
	c, p := r.narrow()
	want := string(random(fullGrant))
	r.write(c, want)
	c.Close()
	brokertest.Await(t, bound, "the link has ended", func() bool { all, _ := r.link.links.begun(); return all == 0 })
	if text := string(<-readSlowly(p, 1000, 0)); text != want {
		t.Errorf("%d bytes come, or others", len(text))
	}
}

// One that takes nothing then does not stay for ever.
func TestAClientThatTakesNothingBehindACloseIsReset(t *testing.T) {
	times := usualTimes
	times.stall = 4 * moment
	r := newLinkedRigWith(t, false, Limits{Connections: 10}, times, nil)
	c, p := r.narrow()
	r.write(c, string(random(fullGrant)))
	c.Close()
	brokertest.Await(t, bound, "its place is free", func() bool {
		r.link.door.conns.mu.Lock()
		defer r.link.door.conns.mu.Unlock()
		return r.link.door.conns.places.open == 0
	})
	r.mustBeReset("the client", p)
}
