package commitlog_test

import (
	"bytes"
	"sync"
	"testing"

	"mbus/internal/commitlog"
)

// FuzzReplay opens a log whose last batches are in the journal only, with bytes of that changed: what the
// segment has is there, nothing is served in the place of something else, and the log can be used.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 40, 1})
	f.Add([]byte{0, 4, 0xff, 16, 4, 0xff, 32, 200, 1})
	var (
		once    sync.Once
		c       *cut
		content []byte
	)
	f.Fuzz(func(t *testing.T, edits []byte) {
		once.Do(func() {
			c = cutAt(t, oneSegment(), 4, 10)
			c.journal(c.single()...)
			content = readFile(t, c.disk, journalFile)
		})
		damaged := bytes.Clone(content)
		for ; len(edits) >= 3; edits = edits[3:] { // each a position and what is flipped there
			damaged[(int(edits[0])<<8|int(edits[1]))%len(damaged)] ^= edits[2]
		}
		disk := c.disk.KillClone()
		writeFile(t, disk, journalFile, damaged)
		o := c.options
		o.FS = disk
		checkReplay(t, o, c)
	})
}

// checkReplay opens the log, compares it with the one before the power cut, and appends.
func checkReplay(t *testing.T, o commitlog.Options, c *cut) {
	s, err := commitlog.Open("/data", o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer s.Close()
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := survey(p, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < c.kept {
		t.Fatalf("%d batches are left of %d", len(found), c.kept)
	}
	for _, b := range found {
		for _, stored := range c.stored {
			if b.Base < stored.Next && stored.Base < b.Next && !bytes.Equal(b.Bytes, stored.Bytes) {
				t.Fatalf("the batch at %d is another one", b.Base)
			}
		}
	}
	r := &rig{T: t, Partition: p}
	r.fill(1)
}
