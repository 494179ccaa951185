package commitlog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// verify runs Verify on a copy of a disk, on which every call that would change
// something is an error of the test.
func verify(t *testing.T, disk *crashfs.FS, o commitlog.Options) (sum commitlog.Verified, found []string) {
	t.Helper()
	o.FS = disk.KillClone()
	o.FS.(*crashfs.FS).SetHook(func(c crashfs.Call) error {
		t.Errorf("verify calls %+v", c)
		return errors.ErrUnsupported
	})
	sum, err := commitlog.Verify("/data", o, func(f commitlog.Finding) { found = append(found, f.String()) })
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

// Whatever a power cut leaves is no damage to what was acknowledged. Behind that a batch may
// be torn and a later one whole.
func TestVerifyFindsNoDamageAfterAPowerCut(t *testing.T) {
	torn := 0
	for seed := range uint64(300) {
		r := newRig(t, smallSegments())
		r.fill(3 + int(seed%9))
		r.submit(r.Batch(2, 150), r.Batch(1, 600))
		sum, found := verify(t, r.disk.Crash(crashfs.Torn(seed)), r.options)
		r.store.Close()
		acknowledged := int64(3 * len(r.stored))
		lost := slices.ContainsFunc(found, func(f string) bool {
			var first int64
			_, at, _ := strings.Cut(f, "offsets=")
			_, err := fmt.Sscanf(at, "%d-", &first)
			return !strings.HasPrefix(f, "note ") && (err != nil || first < acknowledged)
		})
		if lost || sum.Records < acknowledged {
			t.Fatalf("seed %d: %+v\n%s", seed, sum, strings.Join(found, "\n"))
		}
		torn += len(found)
	}
	if torn == 0 {
		t.Error("no power cut has left a torn tail")
	}
}

func TestVerifyCountsWhatIsThere(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(20)
	if _, err := r.store.CreateTopic("bills", 3, ""); err != nil {
		t.Fatal(err)
	}
	want := commitlog.Verified{Topics: 2, Partitions: 4, Records: 60, Bytes: int64(len(bytesOf(r.stored)))}
	sum, found := verify(t, r.disk, r.options)
	if sum != want || len(found) > 0 {
		t.Errorf("%+v, %q", sum, found)
	}
}

// What the log start offset has passed is gone, and no damage.
func TestVerifyOfATrimmedLog(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(20)
	if err := r.Trim(31); err != nil {
		t.Fatal(err)
	}
	if sum, found := verify(t, r.disk, r.options); sum.Records != 29 || len(found) > 0 {
		t.Errorf("%+v, %q", sum, found)
	}
}

func TestVerifySaysWhereDamageIs(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(12)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	closed := r.disk.KillClone()
	logs := files(t, closed, ".log")
	first := indexOf(r, readFile(t, closed, logs[1]))
	b, pos := r.stored[first+1], len(r.stored[first].Bytes)
	for name, test := range map[string]struct {
		damage func(disk *crashfs.FS)
		want   string
	}{
		"a batch": {
			func(disk *crashfs.FS) { r.change(disk, logs[1], pos+100) },
			fmt.Sprintf(`damage topic="orders" partition=0 offsets=%d-%d file=%q position=%d reason="damaged: corrupt record batch: CRC-32C is`, b.Base, b.Next-1, logs[1], pos),
		},
		"an index": {
			func(disk *crashfs.FS) { r.change(disk, strings.TrimSuffix(logs[1], ".log")+".index", 70) },
			`damage topic="orders" partition=0 offsets=none file="` + strings.TrimSuffix(logs[1], ".log") + `.index" position=0 reason="the index is built again`,
		},
		"the topic": {
			func(disk *crashfs.FS) { r.change(disk, "/data/topics/orders/topic.json", 12) },
			`damage topic="orders" partition=all offsets=none file="/data/topics/orders/topic.json" position=0 reason=`,
		},
		"a segment is missing": {
			func(disk *crashfs.FS) {
				r.removeFile(disk, logs[1])
				r.removeFile(disk, strings.TrimSuffix(logs[1], ".log")+".index")
			},
			fmt.Sprintf(`gap topic="orders" partition=0 offsets=%d-%d reason="missing: no segment holds them"`, r.stored[first].Base, r.stored[indexOf(r, readFile(t, closed.KillClone(), logs[2]))].Base-1),
		},
	} {
		disk := closed.KillClone()
		test.damage(disk)
		sum, found := verify(t, disk, r.options)
		if sum.Damaged != 1 || len(found) != 1 || !strings.HasPrefix(found[0], test.want) {
			t.Errorf("%s: %+v, %q, want %s", name, sum, found, test.want)
		}
	}
}

// change changes a byte of a file.
func (r *rig) change(disk *crashfs.FS, name string, pos int) {
	r.Helper()
	content := readFile(r.T, disk, name)
	content[pos] ^= 4
	writeFile(r.T, disk, name, content)
}

// A last segment that has gone is missed by its index, and its offsets are not
// given to others.
func TestMissingLastSegmentIsAGap(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(10)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk := r.disk.KillClone()
	logs := files(t, disk, ".log")
	first := r.stored[indexOf(r, readFile(t, disk, logs[len(logs)-1]))].Base
	r.removeFile(disk, logs[len(logs)-1])
	r.reopen(disk)
	if logged := r.log.logged(); !slices.ContainsFunc(logged, func(s string) bool { return strings.HasPrefix(s, "ERROR a segment is missing") }) {
		t.Errorf("logged was %q", logged)
	}
	for range 2 {
		if err := r.shows(hole{first, 30, true}); err != nil {
			t.Error(err)
		}
		r.fill(1)
		r.restart()
	}
}

// A topic that is created again has higher leader epochs than all before, so that
// nothing of the old one is taken for its own.
func TestEpochsAscend(t *testing.T) {
	r := newRig(t, oneSegment())
	last := int32(-1)
	for i := range 6 {
		made, err := r.store.CreateTopic("bills", 3, "")
		if err != nil {
			t.Fatal(err)
		}
		if made.Epoch <= last {
			t.Errorf("epoch %d after one that ends at %d", made.Epoch, last)
		}
		last = made.Epoch + 2
		if i%2 == 1 {
			r.restart()
		}
		if err := r.store.DeleteTopic("bills"); err != nil {
			t.Fatal(err)
		}
	}
}
