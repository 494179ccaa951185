package commitlog_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// A copy of a data directory that is in use has each file as it was at another moment.
// These tests put such directories together.

const activeIndex = logDir + "/00000000000000000000.index"

// The index was copied after the segment: its recovery point speaks of what the segment does not
// have, be the rest of it zeros, because space had been allocated ahead, or not there.
func TestCopyOfAnIndexThatIsNewerThanThatOfItsSegment(t *testing.T) {
	for _, ahead := range []bool{true, false} {
		r := newRig(t, oneSegment())
		r.fill(12)
		r.store.Close()
		closed := r.disk.KillClone()
		all, content := r.stored, bytesOf(r.stored)
		next := all[len(all)-1].Next
		for n := 1; n < len(content); n += 97 {
			older := append([]byte(nil), content[:n]...)
			if ahead {
				older = append(older, make([]byte, len(content)-n+1000)...)
			}
			first, size := int64(0), 0 // what is whole: a batch may end in zeros
			for _, b := range all {
				if size += len(b.Bytes); !bytes.HasPrefix(older, content[:size]) {
					break
				}
				first = b.Next
			}
			disk := closed.KillClone()
			writeFile(t, disk, activeLog, older)
			_, found := verify(t, disk, r.options)
			if want := fmt.Sprintf(" offsets=%d-%d ", first, next-1); len(found) == 0 || !strings.Contains(found[0], want) {
				t.Fatalf("%d bytes: -verify says %q, not %q", n, found, want)
			}
			c := &rig{T: t, Maker: r.Maker, options: r.options, stored: all}
			c.start(disk.KillClone())
			c.connect()
			if !c.log.says("synced bytes are missing") || !c.log.says(fmt.Sprintf("first=%d next=%d", first, next)) {
				t.Fatalf("%d bytes: logged was %q", n, c.log.logged())
			}
			for range 2 {
				err := c.shows(hole{first, next, true}) // where nothing is left of them
				if err != nil {
					err = c.shows(hole{first, next, false})
				}
				if err != nil {
					t.Fatalf("%d bytes, space ahead %v: %v", n, ahead, err)
				}
				if _, high := c.Offsets(); high != next {
					t.Fatalf("%d bytes: the log goes on at %d, not %d", n, high, next)
				}
				c.restart()
			}
			c.store.Close()
		}
	}
}

// The log start was copied after the segment. What has taken the place of what lies below
// it, such as positions of groups that were written once more, is not in the copy, or only
// a part of that.
func TestCopyOfALogStartThatIsNewerThanThatOfItsSegment(t *testing.T) {
	for _, start := range []int64{60, 31, 30, 10} {
		r := newRig(t, oneSegment())
		r.fill(10)
		older := bytesOf(r.stored)
		early := r.stored
		olderIndex := readFile(t, r.disk, activeIndex)
		r.fill(10)
		if err := r.Trim(start); err != nil {
			t.Fatal(err)
		}
		r.store.Close()
		closed := r.disk.KillClone()
		for name, disk := range map[string]*crashfs.FS{
			"the index is as old as the segment": func() *crashfs.FS {
				disk := closed.KillClone()
				writeFile(t, disk, activeIndex, olderIndex)
				return disk
			}(),
			"the index is newer": closed.KillClone(),
		} {
			writeFile(t, disk, activeLog, older)
			if _, found := verify(t, disk, r.options); len(found) == 0 {
				t.Fatalf("start %d, %s: -verify finds nothing", start, name)
			}
			c := &rig{T: t, Maker: r.Maker, options: r.options, stored: early}
			c.start(disk.KillClone())
			c.connect()
			if !c.log.says("log start offset is newer than the log") {
				t.Errorf("start %d, %s: logged was %q", start, name, c.log.logged())
			}
			for range 2 {
				if at := c.startOffset(); at != 0 {
					t.Errorf("start %d, %s: the log begins at %d", start, name, at)
				}
				var missing []hole
				if _, high := c.Offsets(); high > 30 {
					missing = []hole{{30, high, true}}
				}
				if err := c.shows(missing...); err != nil {
					t.Errorf("start %d, %s: %v", start, name, err)
				}
				c.restart()
			}
			c.store.Close()
		}
	}
}

// What earlier versions wrote has no end in it.
func TestLogStartWithoutAnEndIsRead(t *testing.T) {
	r := newRig(t, oneSegment())
	r.fill(10)
	if err := r.Trim(7); err != nil {
		t.Fatal(err)
	}
	r.store.Close()
	disk := r.disk.KillClone()
	file := logDir + "/log-start-offset"
	fields := strings.Fields(string(readFile(t, disk, file)))
	if len(fields) != 3 || fields[0] != "7" || fields[1] != "30" {
		t.Fatalf("the file holds %q", fields)
	}
	epoch := batch.Batch(r.stored[0].Bytes).LeaderEpoch()
	sum := crc32.Update(uint32(epoch), crc32.MakeTable(crc32.Castagnoli), []byte("7"))
	writeFile(t, disk, file, fmt.Appendf(nil, "7 %08x\n", sum))
	r.reopen(disk)
	if start := r.startOffset(); start != 7 || len(r.log.logged()) > 0 {
		t.Errorf("the log begins at %d; logged was %q", start, r.log.logged())
	}
}

// A copy that was made while a topic got partitions may have the topic.json of then and not the
// directories: it is used with those that it has, and the others can be added, or put back.
func TestCopyOfATopicThatGrewMeanwhile(t *testing.T) {
	for _, empty := range []bool{false, true} {
		for _, grows := range []bool{false, true} {
			disk := crashfs.New()
			s := openWith(t, disk, nil)
			for _, name := range []string{"orders", "other", "another"} { // so that epochs are not in a row
				if _, err := s.CreateTopic(name, 2, ""); err != nil {
					t.Fatal(err)
				}
			}
			appendThree(t, s, "orders", 1)
			for total := 3; total <= 4; total++ {
				if _, err := s.AddPartitions("orders", total); err != nil {
					t.Fatal(err)
				}
				appendThree(t, s, "orders", total-1)
			}
			s.Close()
			part := disk.KillClone()
			for _, dir := range []string{"/data/topics/orders/2", "/data/topics/orders/3"} {
				removeTree(t, part, dir)
				if empty {
					if err := part.Mkdir(dir); err != nil {
						t.Fatal(err)
					}
				}
			}
			var found []commitlog.Finding
			sum, err := commitlog.Verify("/data", commitlog.Options{FS: part}, func(f commitlog.Finding) { found = append(found, f) })
			if err != nil || sum.Damaged != 2 || found[0].Partition != 2 {
				t.Errorf("verify: %+v, %v", found, err)
			}
			log := new(recorder)
			s = openWith(t, part, log)
			hasRecords(t, s, "orders", 1, 3)
			if !log.says("ERROR partitions that were added to a topic are missing: it is used without them topic=orders first=2 partitions=4") {
				t.Errorf("logged %q", log.logged())
			}
			appendThree(t, s, "orders", 1)
			if grows {
				made, err := s.AddPartitions("orders", 4)
				if err != nil || made.PartitionEpoch(2) <= 0 {
					t.Fatal(err)
				}
				appendThree(t, s, "orders", 3)
			}
			s.Close()
			part = part.KillClone()
			s = openWith(t, part, nil)
			hasRecords(t, s, "orders", 1, 6)
			if grows {
				hasRecords(t, s, "orders", 3, 3)
			}
		}
	}
}
