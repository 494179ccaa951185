package tcpserver

import (
	"errors"
	"io"
	"os"
	"testing"
)

// The records of one write are as few segments as its bytes can be. One for each record would wake the peer for each, and
// have its system change its mind about the window that holdsUnread compares, when longer segments come.
func TestTheRecordsOfAWriteGoTogether(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, p := r.connect()
	over := c.(*tlsConn)
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, p)
		read <- err
	}()
	before, err := over.info()
	if err != nil {
		t.Fatal(err)
	}
	r.write(c, string(random(largeOutput)))
	after, err := over.info()
	if err != nil {
		t.Fatal(err)
	}
	bytes := after.Bytes_sent - after.Bytes_retrans - before.Bytes_sent + before.Bytes_retrans + uint64(after.Notsent_bytes)
	if bytes <= largeOutput {
		t.Errorf("%d bytes are sent", bytes)
	}
	segments := int(after.Data_segs_out - after.Total_retrans - before.Data_segs_out + before.Total_retrans)
	if most := int(bytes)/int(after.Snd_mss) + 1; segments > most {
		t.Errorf("%d bytes are sent in %d segments, not in %d", bytes, segments, most)
	}
	c.Close()
	if err := r.within(read); err != nil {
		t.Error(err)
	}
}

// A buffer for the records of a write goes back when the write is over, and when its time is. What the socket has not taken
// has no more memory than it needs.
func TestAConnectionThatWaitsHoldsNoBufferForRecords(t *testing.T) {
	r := newRig(t, true, 10, bound)
	c, p := r.narrow()
	records := &c.(*tlsConn).records
	want := random(1 << 20)
	n, err := c.Write(want, moment)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes are written, %v", n, err)
	}
	if kept := len(records.kept); records.pooled != nil || kept == 0 || cap(records.kept) > kept+kept/4+1024 {
		t.Errorf("%d bytes are kept in %d, pooled: %v", kept, cap(records.kept), records.pooled != nil)
	}
	all := readSlowly(p, 1<<20, 0)
	r.write(c, string(want[n:]))
	if records.pooled != nil || records.kept != nil {
		t.Error("there is a buffer after the last of a write")
	}
	c.Close()
	if got := <-all; string(got) != string(want) {
		t.Errorf("%d bytes came of %d, or others", len(got), len(want))
	}
}
