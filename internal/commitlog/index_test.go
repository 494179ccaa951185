package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store/storetest"
	"mbus/test/brokertest"
)

// A change is what may be found in an index's place.
type change struct {
	what    string
	content []byte
}

func changesOf(index, older, other []byte) []change {
	rng := rand.New(rand.NewPCG(3, 3))
	random := make([]byte, len(index))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	list := []change{
		{"empty", nil},
		{"random", random},
		{"all zeros", make([]byte, len(index))},
		{"older", older},
		{"that of another segment", other},
		{"twice over", slices.Concat(index, index)},
		{"with something behind", slices.Concat(index, random)},
		{"random behind its header", slices.Concat(index[:64], random[64:])},
		{"all zeros behind its header", slices.Concat(index[:64], make([]byte, len(index)-64))},
		{"with another header", slices.Concat(other[:64], index[64:])},
		{"with an older header", slices.Concat(older[:64], index[64:])},
		{"older behind its header", slices.Concat(index[:64], older[64:])},
	}
	for n := 1; n < len(index); n++ {
		list = append(list, change{fmt.Sprintf("cut to %d bytes", n), index[:n]})
	}
	for i := range index {
		p := bytes.Clone(index)
		p[i] ^= 1 << (i % 8)
		list = append(list, change{fmt.Sprintf("with a bit flipped in byte %d", i), p})
	}
	return list
}

func TestAnyIndexIsMadeGood(t *testing.T) {
	brokertest.Slow(t)
	for which := range 3 {
		r := newRig(t, smallSegments())
		r.fill(9)
		names := files(t, r.disk, ".index")
		older := readFile(t, r.disk, names[which])
		r.fill(2)
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		index, other := readFile(t, r.disk, names[which]), readFile(t, r.disk, names[(which+1)%3])
		closed := r.disk.KillClone()
		for _, c := range changesOf(index, older, other) {
			disk := closed.KillClone()
			writeFile(t, disk, names[which], c.content)
			r.reopen(disk)
			r.answersAsBefore(which, c.what)
		}
		disk := closed.KillClone()
		r.removeFile(disk, names[which])
		r.reopen(disk)
		r.answersAsBefore(which, "missing")
	}
}

// answersAsBefore checks reads and times, uses the log, and looks once more.
func (r *rig) answersAsBefore(which int, what string) {
	r.Helper()
	for _, b := range r.stored {
		time := batch.Batch(b.Bytes).MaxTimestamp()
		if got, err := r.OffsetForTime(time); err != nil || got != b.Base {
			r.Fatalf("index %d %s: the offset for time %d is %d, %v; want %d", which, what, time, got, err, b.Base)
		}
	}
	stored := r.stored
	if err := r.shows(); err != nil {
		r.Fatalf("index %d %s: %v", which, what, err)
	}
	r.goesOn()
	r.stored = stored
}

func TestReadersShareTheRebuildingOfIndexes(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(40)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk := r.disk.KillClone()
	for _, name := range files(t, disk, ".index") {
		r.removeFile(disk, name)
	}
	r.reopen(disk)
	errs := make([]error, 4)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			var list []batchtest.Stored
			if list, errs[i] = storetest.ReadAll(r.Partition, 1+1000*i); errs[i] == nil && len(list) < 40 {
				errs[i] = fmt.Errorf("%d batches of 40 or more", len(list))
			}
		})
	}
	r.fill(10)
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	r.holdsStored()
}
