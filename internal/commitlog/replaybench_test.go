package commitlog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// BenchmarkReplay starts with a journal of 64 MiB, full of messages of 100 bytes: after a kill the segments
// hold them, after a power cut they don't.
func BenchmarkReplay(b *testing.B) {
	for _, topics := range []int{1, 128, 1000} {
		for _, cut := range []bool{false, true} {
			b.Run(fmt.Sprintf("topics=%d/cut=%v", topics, cut), func(b *testing.B) {
				dir := b.TempDir()
				o := Options{JournalBytes: 64 << 20}
				s, _ := openMany(b, dir, topics, o)
				list := s.Topics()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				files, ends := fullJournal(list)
				b.ResetTimer()
				for b.Loop() {
					b.StopTimer()
					afterCrash(b, dir, list, files, cut)
					b.StartTimer()
					s, err := Open(dir, o)
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					for i, t := range list {
						if _, high := partitionOf(b, s, t).Offsets(); high != ends[i] {
							b.Fatalf("topic %d ends at %d, not %d", i, high, ends[i])
						}
					}
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}

func partitionOf(b *testing.B, s *Store, t store.Topic) store.Partition {
	p, err := s.Partition(t.Name, 0)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// fullJournal is the content of two journal files, and the offsets at which the logs end.
func fullJournal(list []store.Topic) (files [][]byte, ends []int64) {
	ends, pos := make([]int64, len(list)), make([]int64, len(list))
	round := uint64(0)
	for salt := range uint64(2) {
		var p []byte
		for len(p) < 32<<20-len(list)*400-roundAlign {
			round++
			p = append(p, make([]byte, roundUp(len(p), roundAlign)-len(p))...)
			for i, t := range list {
				data := oneRecord(fmt.Sprintf("%100d", round))
				batch.Batch(data).Stamp(ends[i], t.Epoch)
				p = appendFrame(p, salt+1, round, i, len(list), frame{t.ID, 0, leaderEpoch(t.Epoch), 0, pos[i], ends[i], ends[i] + 1}, data)
				ends[i]++
				pos[i] += int64(len(data))
			}
		}
		files = append(files, append(p, make([]byte, 32<<20-len(p))...))
	}
	return files, ends
}

// afterCrash makes the directory what a kill or a power cut leaves.
func afterCrash(b *testing.B, dir string, list []store.Topic, files [][]byte, cut bool) {
	segments := make(map[[16]byte][]byte)
	if err := os.RemoveAll(filepath.Join(dir, journalDir)); err != nil {
		b.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, journalDir), 0o700); err != nil {
		b.Fatal(err)
	}
	write := func(p []byte, names ...string) {
		if err := os.WriteFile(filepath.Join(append([]string{dir}, names...)...), p, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for i, p := range files {
		c := scanJournal(p, uint64(i+1))
		for _, f := range c.frames {
			segments[f.topic] = append(segments[f.topic], f.data...)
		}
		write(p, journalDir, journalName{uint64(i + 1), uint64(i + 1)}.String())
	}
	write([]byte("mbus J\n"), formatName)
	for _, t := range list {
		content := segments[t.ID]
		if cut {
			content = nil
		}
		write(content, topicsName, t.Name, "0", fmt.Sprintf("%020d.log", 0))
		if err := os.Remove(filepath.Join(dir, topicsName, t.Name, "0", fmt.Sprintf("%020d.index", 0))); err != nil {
			b.Fatal(err)
		}
		x := newSegment(&partition{epoch: leaderEpoch(t.Epoch)}, 0)
		write(x.index.header(x.index.synced), topicsName, t.Name, "0", fmt.Sprintf("%020d.index", 0))
	}
	if cut {
		write([]byte("another boot\n"), bootName)
	} else if err := os.Remove(filepath.Join(dir, bootName)); err != nil {
		b.Fatal(err)
	}
	if err := (vfs.OS{}).SyncAll(dir); err != nil {
		b.Fatal(err)
	}
}
