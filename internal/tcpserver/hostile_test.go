package tcpserver

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/turns"
	"mbus/test/brokertest"
)

// clientHello is the first message of a handshake.
func (r *rig) clientHello() string {
	r.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		_ = tls.Client(theirs, r.client).Handshake() // which fails
		theirs.Close()
	}()
	p := make([]byte, 10_000)
	n, err := ours.Read(p)
	if err != nil {
		r.Fatal(err)
	}
	return string(p[:n])
}

// record is a record of the handshake.
func record(p []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x16, 3, 1}, uint16(len(p))), p...)
}

// inPieces is the begin of a message of the handshake that claims a size, in records of a size.
func inPieces(claims, sends, each int) string {
	p := make([]byte, sends)
	binary.BigEndian.PutUint32(p, uint32(claims)|1<<24)
	var all []byte
	for piece := range slices.Chunk(p, each) {
		all = append(all, record(piece)...)
	}
	return string(all)
}

// A client that does not end its handshake holds 64 KiB or less, whatever it sends.
func TestAHandshakeTakesLittleMemory(t *testing.T) {
	const clients, most = 200, 64 << 10
	anyTurns(t)
	for name, text := range map[string]func(r *rig) string{
		"nothing":        func(*rig) string { return "" },
		"a hello":        (*rig).clientHello,
		"a large record": func(*rig) string { return string(record(make([]byte, 1<<14))[:1<<14]) },
		"a large hello":  func(*rig) string { return inPieces(1<<16-4, maxHandshake-200, 1000) },
		"small pieces":   func(*rig) string { return inPieces(1<<16-4, maxHandshake/6-10, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, true, clients, never)
			sent := text(r)
			before := inUse()
			var peers []*net.TCPConn
			for range clients {
				peers = append(peers, r.plain(sent).(*net.TCPConn))
			}
			brokertest.Await(r, bound, "all is read", func() bool { return r.conns.arrivals() == clients && r.haveRead(peers, sent) })
			if each := (inUse() - before) / clients; each > most && !brokertest.Race {
				t.Errorf("each connection takes %d bytes", each)
			}
			r.stop()
		})
	}
}

// haveRead says whether the server has read what each of peers has sent, and answered a hello.
func (r *rig) haveRead(peers []*net.TCPConn, sent string) bool {
	for _, p := range peers {
		if n, err := brokertest.Unacknowledged(p); err != nil || n > 0 {
			return false
		}
		if n, err := brokertest.Unread(p); strings.Contains(sent, "127.0.0.1") && (err != nil || n == 0) {
			return false
		}
	}
	r.conns.mu.Lock()
	defer r.conns.mu.Unlock()
	for a := range r.conns.arriving {
		a.mu.Lock()
		isOpen := a.Conn != nil
		a.mu.Unlock()
		if !isOpen {
			return false
		}
		if n, err := brokertest.Unread(a.of.tcp); err != nil || n > 0 {
			return false
		}
	}
	return true
}

func inUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// More than a client sends for a handshake is not waited for.
func TestAHandshakeThatIsTooLongEnds(t *testing.T) {
	r := newRig(t, true, 10, never)
	for _, text := range []string{inPieces(1<<16-4, maxHandshake+100, 1000), inPieces(1<<16-4, maxHandshake, 1)} {
		if _, err := io.Copy(io.Discard, r.plain(text)); isTimeout(err) {
			t.Error("it does not end")
		}
	}
	if n := r.conns.arrivals(); n != 0 {
		t.Errorf("%d go on", n)
	}
}

// The system keeps connections that send nothing to itself: a client that speaks comes before those that came before it.
func TestAConnectionThatSendsNothingIsNotAccepted(t *testing.T) {
	const clients, rounds = 20, 10
	r := newRig(t, true, (clients+1)*rounds, never)
	for range rounds { // a client that says nothing for a second is accepted, which may happen on a slow machine
		before := r.conns.arrivals()
		for range clients {
			r.plain("")
		}
		r.connect()
		if r.conns.arrivals() == before {
			return
		}
	}
	t.Error("clients that send nothing are accepted")
}

// A client that is gone when its turn comes costs no handshake.
func TestAHandshakeOfAClientThatHasLeftIsNotComputed(t *testing.T) {
	server, client := brokertest.TLS(t)
	server = server.Clone()
	var computed atomic.Int64
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		computed.Add(1)
		return nil, nil
	}
	r := newRigAt(t, "127.0.0.1:0", server, client, Limits{Connections: 10, Handshake: never})
	var held []*turns.Turn
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		held = append(held, handshakes.Begin(netip.Prefix{}))
	}
	hello := r.clientHello()
	for range 2 {
		conn := r.plain("")
		if _, err := io.WriteString(conn, hello); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	brokertest.Await(r, bound, "both are seen to leave", func() bool {
		left := 0
		r.conns.mu.Lock()
		defer r.conns.mu.Unlock()
		for a := range r.conns.arriving {
			if a.HasLeft() {
				left++
			}
		}
		return left == 2
	})
	for _, turn := range held {
		turn.Pause()
	}
	brokertest.Await(r, bound, "both are gone", func() bool { return r.conns.arrivals() == 0 })
	if n := computed.Load(); n > 0 {
		t.Errorf("%d handshakes were begun", n)
	}
	r.connect()
	if n := computed.Load(); n != 1 {
		t.Errorf("%d handshakes were begun for the one client that stayed", n)
	}
}

// A thousand connections that send nothing, or close in the middle, hold up nobody.
func TestSilentConnectionsHoldUpNobody(t *testing.T) {
	const clients = 1000
	r := newRig(t, true, clients+1, never)
	hello := r.clientHello()
	for i := range clients {
		conn := r.plain("")
		if i%4 == 0 {
			io.WriteString(conn, hello[:i*len(hello)/clients])
			conn.(*net.TCPConn).SetLinger(i % 8 / 4) // some with a reset
			conn.Close()
		}
	}
	brokertest.Await(r, bound, "those that closed are gone", func() bool { return r.conns.arrivals() == clients*3/4 })
	c, p := r.connect()
	r.write(c, stream)
	r.mustRead(p, stream) // the stop at the end of the test waits for none of the others
}

// The first byte decides, whenever it comes, and how few bytes come with it.
func TestPlainAndTLSSideBySide(t *testing.T) {
	r := newRig(t, true, 100, bound)
	late := r.plain("")
	overTLS, peer := r.connect()
	var plain []Conn
	for _, first := range []string{"\x00", "\x15", "\x17", "a", "\xff"} {
		conn := r.plain(first)
		c := <-r.accepted
		r.mustRead(c, first)
		r.write(c, stream)
		r.mustRead(conn, stream)
		plain = append(plain, c)
	}
	for _, c := range plain {
		if _, ok := c.(*tcpConn); !ok || !c.IsPrivate() || c.CertificateName() != "" {
			t.Errorf("%T, private: %v", c, c.IsPrivate())
		}
	}
	if _, ok := overTLS.(*tlsConn); !ok || !overTLS.IsPrivate() {
		t.Errorf("%T", overTLS)
	}
	slow := &byteByByte{Conn: r.plain("")}
	handshake := make(chan error, 1)
	go func() { handshake <- tls.Client(slow, r.client).Handshake() }()
	if err := r.within(handshake); err != nil {
		t.Fatal(err)
	}
	<-r.accepted
	r.write(overTLS, stream)
	r.mustRead(peer, stream)
	io.WriteString(late, "late")
	c := <-r.accepted
	r.mustRead(c, "late")
	c.SetReadDeadline(time.Time{})
	late.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v is no end", err)
	}
}

type byteByByte struct{ net.Conn }

func (b *byteByByte) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// Off loopback a connection without TLS is refused, with a text that the server gives.
func TestOffLoopbackOnlyTLSIsServed(t *testing.T) {
	server, client := brokertest.TLS(t)
	r := newRigAt(t, far+":0", server, client, Limits{Connections: 10, Handshake: bound})
	for range 3 {
		r.isRefused(r.plain("orders\n"), ErrPlain)
	}
	c, p := r.connect()
	r.write(c, stream)
	r.mustRead(p, stream)
	if !c.IsPrivate() {
		t.Error("it is not private")
	}
	without := newRigAt(t, far+":0", nil, nil, Limits{Connections: 10})
	if c, _ := without.connect(); c.IsPrivate() {
		t.Error("off loopback TCP is private")
	}
}

// openssl runs openssl s_client. It gives the server's side, and a function that types a line, of which R renegotiates
// and K has both sides change keys.
func (r *rig) openssl(version string) (Conn, func(line string)) {
	r.Helper()
	brokertest.NeedTools(r, "openssl")
	out, in, err := os.Pipe()
	if err != nil {
		r.Fatal(err)
	}
	cmd := exec.Command("openssl", "s_client", "-connect", r.address, version)
	cmd.Stdin = out
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
		out.Close()
	})
	return <-r.accepted, func(line string) {
		r.Helper()
		if _, err := in.WriteString(line); err != nil {
			r.Fatal(err)
		}
		brokertest.Await(r, bound, "openssl reads the line alone", func() bool {
			n, err := brokertest.Unread(out)
			return n == 0 && err == nil
		})
	}
}

func TestRenegotiationIsRefused(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, enter := r.openssl("-tls1_2")
	enter("before\n")
	r.mustRead(c, "before\n")
	enter("R\n")
	c.SetReadDeadline(time.Now().Add(bound))
	if n, err := c.Read(make([]byte, 10)); err == nil || isTimeout(err) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A client may change keys, but not again and again.
func TestAFloodOfKeyUpdatesEnds(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, enter := r.openssl("-tls1_3")
	for range 3 {
		enter("before\n")
		r.mustRead(c, "before\n")
		enter("K\n")
	}
	for range 20 {
		enter("K\n")
	}
	c.SetReadDeadline(time.Now().Add(bound))
	if n, err := c.Read(make([]byte, 10)); err == nil || isTimeout(err) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n := c.(*tlsConn).records.len(); n > maxKept {
		t.Errorf("%d bytes are kept", n)
	}
}
