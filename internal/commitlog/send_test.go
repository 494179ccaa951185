package commitlog_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// sendLog is a log with a sealed segment and an active one, each with enough for
// many writes to a socket.
func sendLog(t *testing.T) (s *commitlog.Store, dir string, want []byte) {
	t.Helper()
	dir = t.TempDir()
	s, err := commitlog.Open(dir, commitlog.Options{SegmentBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	p := partition(t, s)
	var maker batchtest.Maker
	for range 7 {
		b := maker.Batch(1, 1<<20)
		if _, err := store.AppendAndWait(p, b); err != nil {
			t.Fatal(err)
		}
		want = append(want, b...) // it has been stamped
	}
	return s, dir, want
}

func partition(t *testing.T, s *commitlog.Store) store.Partition {
	t.Helper()
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// chunks calls f with all there is, a chunk at a time.
func chunks(t *testing.T, p store.Partition, f func(*store.Chunk)) {
	t.Helper()
	var c store.Chunk
	defer c.Release()
	_, high := p.Offsets()
	for at := int64(0); at < high; at = c.Next {
		if err := p.Read(at, 3<<20, &c); err != nil {
			t.Fatal(err)
		}
		f(&c)
	}
}

// sent is what arrives at the other end of a TCP connection.
func sent(t *testing.T, send func(store.RawWriter)) []byte {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	arrived := make(chan []byte)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			close(arrived)
			return
		}
		defer conn.Close()
		p, _ := io.ReadAll(conn)
		arrived <- p
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	send(raw)
	conn.Close()
	return <-arrived
}

func TestWhatThisProcessHasWrittenIsSentUnread(t *testing.T) {
	s, _, want := sendLog(t)
	defer s.Close()
	got := sent(t, func(raw store.RawWriter) {
		chunks(t, partition(t, s), func(c *store.Chunk) {
			if !c.Sendable() {
				t.Fatalf("offset %d can't be sent", c.First)
			}
			if err := c.SendTo(raw); err != nil {
				t.Fatal(err)
			}
		})
	})
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, which are not the %d that were stored", len(got), len(want))
	}
}

// What an earlier process has written may have been damaged since.
func TestWhatIsFoundOnTheDiskIsCheckedBeforeItIsSentUnread(t *testing.T) {
	s, dir, want := sendLog(t)
	s.Close()
	files, err := filepath.Glob(filepath.Join(dir, "topics", "orders", "0", "*.log"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	damage(t, files[0], 2<<20) // in the second batch
	s, err = commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := partition(t, s)
	chunks(t, p, func(c *store.Chunk) {
		if c.Sendable() {
			t.Errorf("offset %d would be sent unchecked", c.First)
		}
	})
	var c store.Chunk
	defer c.Release()
	for offset, sound := range map[int64]bool{0: true, 1: false, 2: true, 5: true} {
		c.Release()
		if err := p.Read(offset, 1, &c); err != nil {
			t.Fatal(err)
		}
		read, err := c.Load(nil)
		if (err == nil) != sound || c.Sendable() != sound {
			t.Errorf("offset %d: read with error %v, sendable %v", offset, err, c.Sendable())
		}
		if sound {
			got := sent(t, func(raw store.RawWriter) {
				if err := c.SendTo(raw); err != nil {
					t.Error(err)
				}
			})
			if !bytes.Equal(got, read) || !bytes.Contains(want, got) {
				t.Errorf("offset %d: sent %d bytes, read %d", offset, len(got), len(read))
			}
		}
	}
}

func damage(t *testing.T, name string, pos int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p [1]byte
	if _, err := f.ReadAt(p[:], pos); err != nil {
		t.Fatal(err)
	}
	p[0] ^= 1
	if _, err := f.WriteAt(p[:], pos); err != nil {
		t.Fatal(err)
	}
}
