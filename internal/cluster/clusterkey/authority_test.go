package clusterkey

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// HKDF and Ed25519 give what another program gives (Python's hmac, and OpenSSL).
func TestAuthorityIsThatOfTheVector(t *testing.T) {
	k := vectorKey(t)
	public := hex.EncodeToString(k.authority().Public().(ed25519.PublicKey))
	if want := "fcbe0bd7c3bbf27c1a893b2fd535c2e3e7c4b61fbd4cdec3ee18a094c7328db0"; public != want || k.ID() != "f8018ca9" {
		t.Errorf("the authority's public key is %s, the id %s", public, k.ID())
	}
	a, err := k.certificate()
	b, err2 := k.certificate()
	if err != nil || err2 != nil || !a.Equal(b) {
		t.Errorf("two nodes make different authorities: %v, %v", err, err2)
	}
}

func config(t *testing.T, k *Key, node int32, use Use) *tls.Config {
	t.Helper()
	c, err := k.Config(node, use)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An end is what one side of a connection has seen.
type end struct {
	state tls.ConnectionState
	err   error // of the handshake, or of the byte behind it
}

// connect shakes hands over TCP, and sends a byte both ways. A nil configuration is a side that does not speak TLS.
func connect(t *testing.T, client, server *tls.Config) (c, s end) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan end)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			accepted <- end{err: err}
			return
		}
		e := talk(conn, func() *tls.Conn { return tls.Server(conn, server) }, server != nil)
		conn.Close() // the client may wait for more
		accepted <- e
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c = talk(conn, func() *tls.Conn { return tls.Client(conn, client) }, client != nil)
	conn.Close()
	return c, <-accepted
}

func talk(conn net.Conn, over func() *tls.Conn, isTLS bool) (e end) {
	if isTLS {
		secure := over()
		if e.err = secure.Handshake(); e.err != nil {
			return e
		}
		e.state, conn = secure.ConnectionState(), secure
	}
	if _, e.err = conn.Write([]byte("INFO {}\r\n")); e.err == nil {
		_, e.err = io.ReadFull(conn, make([]byte, 9))
	}
	return e
}

func TestNodesWithTheKeyKnowEachOther(t *testing.T) {
	k := New()
	again, err := Parse(k.Line())
	if err != nil {
		t.Fatal(err)
	}
	c, s := connect(t, config(t, k, 1, Routes), config(t, again, 2, Routes))
	if c.err != nil || s.err != nil {
		t.Fatalf("%v, %v", c.err, s.err)
	}
	for node, e := range map[int32]end{2: c, 1: s} {
		if n, ok := Node(e.state); n != node || !ok || e.state.Version != tls.VersionTLS13 {
			t.Errorf("node %d is %d, %v, with version %x", node, n, ok, e.state.Version)
		}
	}
	if _, ok := Node(tls.ConnectionState{}); ok {
		t.Error("a connection without a certificate has a node")
	}
}

func TestAnotherKeyIsRefusedOnBothSidesAndExplained(t *testing.T) {
	mine, others := config(t, New(), 1, Routes), config(t, New(), 2, Routes)
	c, s := connect(t, mine, others)
	for side, err := range map[string]error{"client": c.err, "server": s.err} {
		if err == nil || !errors.Is(Explain(err), ErrOtherKey) || !IsOtherKey("TLS route handshake error: "+err.Error()) {
			t.Errorf("%s: %v", side, Explain(err))
		}
	}
	trusting := mine.Clone() // who takes any certificate, and shows its own to everybody, is refused all the same
	trusting.InsecureSkipVerify = true
	trusting.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &mine.Certificates[0], nil }
	c, s = connect(t, trusting, others)
	for side, err := range map[string]error{"client": c.err, "server": s.err} {
		if err == nil || !errors.Is(Explain(err), ErrOtherKey) {
			t.Errorf("%s that takes any server: %v", side, Explain(err))
		}
	}
	if Explain(nil) != nil || errors.Is(Explain(io.EOF), ErrOtherKey) {
		t.Error("other errors are explained as well")
	}
}

func TestWithoutACertificateNobodyGetsIn(t *testing.T) {
	mine := config(t, New(), 1, Links)
	none := mine.Clone()
	none.Certificates = nil
	c, s := connect(t, none, mine)
	for side, err := range map[string]error{"client": c.err, "server": s.err} {
		if err == nil || !errors.Is(Explain(err), ErrOtherKey) {
			t.Errorf("%s: %v", side, Explain(err))
		}
	}
}

// A node without a key speaks no TLS.
func TestASideWithoutTLSIsRefusedAndExplained(t *testing.T) {
	mine := config(t, New(), 1, Routes)
	c, _ := connect(t, mine, nil)
	_, s := connect(t, nil, mine)
	for side, err := range map[string]error{"client": c.err, "server": s.err} {
		if err == nil || !strings.Contains(Explain(err).Error(), "without -cluster-key") {
			t.Errorf("%s: %v", side, Explain(err))
		}
	}
}

// A connection can't be led to the other port of a node.
func TestRoutesAndLinksAreNotMistakenForEachOther(t *testing.T) {
	k := New()
	c, s := connect(t, config(t, k, 1, Links), config(t, k, 2, Routes))
	if c.err == nil || s.err == nil || errors.Is(Explain(c.err), ErrOtherKey) {
		t.Errorf("%v, %v", c.err, s.err)
	}
	silent := config(t, k, 1, Links) // which names no use
	silent.NextProtos, silent.VerifyConnection = nil, nil
	if _, s := connect(t, silent, config(t, k, 2, Routes)); s.err == nil {
		t.Error("a server takes a connection of no use")
	}
	if c, _ := connect(t, config(t, k, 1, Routes), silent); c.err == nil {
		t.Error("a client takes a server of no use")
	}
}

func TestOlderVersionsOfTLSAreRefused(t *testing.T) {
	k := New()
	old := config(t, k, 1, Routes)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, s := connect(t, old, config(t, k, 2, Routes)); c.err == nil || s.err == nil {
		t.Errorf("a client of TLS 1.2: %v, %v", c.err, s.err)
	}
	if c, s := connect(t, config(t, k, 2, Routes), old); c.err == nil || s.err == nil {
		t.Errorf("a server of TLS 1.2: %v, %v", c.err, s.err)
	}
}
