package tcpserver

import (
	"bytes"
	"io"
	"testing"

	"mbus/test/brokertest"
)

// A roomy Buffer takes much at once.
type roomy struct{ p []byte }

func (b *roomy) Space() []byte {
	b.p = make([]byte, 1<<20)
	return b.p
}

func (b *roomy) Idle() {}

// sendRecords has the peer write records of one size, and waits until they have come.
func (r *rig) sendRecords(c Conn, p *peer, all []byte, size int) {
	r.Helper()
	for rest := all; len(rest) > 0; rest = rest[size:] {
		if _, err := p.Write(rest[:size]); err != nil {
			r.Fatal(err)
		}
	}
	brokertest.Await(r, bound, "the records come", func() bool {
		n, err := brokertest.Unread(c.(*tlsConn).tcp)
		return err == nil && n >= len(all)+len(all)/size*recordOverhead
	})
}

// recordOverhead is what a record of TLS 1.3 has beside its bytes: header, type and tag (RFC 8446, section 5.2).
const recordOverhead = 5 + 1 + 16

// One read gets all records that have come, so that many lines are one append. It ends where the peer's do.
func TestAReadGetsTheRecordsThatHaveCome(t *testing.T) {
	for _, size := range []int{100, 1000, 10_000} {
		r := newRig(t, true, 10, bound)
		c, p := r.connect()
		want := random(40_000)
		r.sendRecords(c, p, want, size)
		b := new(roomy)
		n, err := c.ReadInto(b)
		if err != nil || !bytes.Equal(b.p[:n], want) {
			t.Fatalf("%d bytes are read of records with %d, or others, %v", n, size, err)
		}
		r.sendRecords(c, p, want, size)
		p.closeWrite()
		_ = p.tcp.CloseWrite()
		brokertest.Await(t, bound, "the close comes", c.HasLeft)
		got := make([]byte, len(want))
		n, err = c.Read(got)
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("%d bytes are read with the close behind them, or others, %v", n, err)
		}
		if n, err := c.Read(got); err != io.EOF {
			t.Errorf("%d bytes and %v at the end", n, err)
		}
	}
}

// A peer that sends as many records as it likes does not keep a read from its end.
func TestAReadGetsSoManyRecordsAtMost(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, p := r.connect()
	want := random(2 * maxRecords)
	r.sendRecords(c, p, want, 1)
	b := new(roomy)
	if n, err := c.ReadInto(b); err != nil || !bytes.Equal(b.p[:n], want[:maxRecords]) {
		t.Fatalf("%d bytes are read, or others, %v", n, err)
	}
	r.mustRead(c, string(want[maxRecords:]))
}
