package fault

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// powerCut is the specimen as a power cut leaves it, which takes the recovery points that were
// written and not synced; and its files.
func (s *specimen) powerCut(t *testing.T) (*crashfs.FS, map[string][]byte) {
	t.Helper()
	disk := s.clone().Crash(crashfs.Nothing())
	return disk, allFiles(t, disk, specimenRoot)
}

// F10, after a power cut: the mark on the disk is older than what was acknowledged. A bit
// flipped behind it costs its batch, which is reported, and nothing else. Of the last batch
// nobody can tell, see F5.
func TestF10PowerCutAndAFlippedBit(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 2))
	var c tally
	for seed := range uint64(runs(2, 20)) {
		s := newSpecimen(t, seed, 20+int(seed)%7, true, nil)
		_, files := s.powerCut(t)
		for range runs(100, 1000) {
			at := shelves[r.IntN(len(shelves))]
			name := last(s.segments(at))
			content := logOf(files[name])
			all := batchesFrom(at, content, -1)
			bits := 8 * startOf(content, last(all))
			if bits == 0 {
				continue // it has one batch
			}
			bit := r.IntN(bits)
			disk, _ := s.powerCut(t)
			put(t, disk, name, flip(files[name], bit))
			x := s.examine(disk)
			c.add(x.tally)
			x.costs(t, fmt.Sprintf("seed %d, %s, bit %d", seed, name, bit), batchAt(at, content, bit/8))
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// F10, negative control: a broker that cuts off what is sound behind damage, as torn by a
// power cut, is seen to have lost it.
func TestF10CuttingOffBehindDamageIsSeen(t *testing.T) {
	s := newSpecimen(t, 10, 25, true, nil)
	at := shelves[2]
	disk, files := s.powerCut(t)
	name := last(s.segments(at))
	content := logOf(files[name])
	first := batchesFrom(at, content, -1)[0]
	put(t, disk, name, flip(files[name], 8*70))
	want := int(last(s.logs[at]).next - (first.next - first.first))
	for program, loses := range map[string]bool{
		brokertest.Program(t, "broker"): false,
		brokertest.Variant(t, brokertest.Change{File: "internal/commitlog/recover.go", Old: "	if late {\n", New: "	if true {\n"}): true,
	} {
		dir := t.TempDir()
		materialize(t, disk, dir)
		p, err := brokertest.Launch("", program, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", dir)
		if err != nil {
			t.Fatal(err)
		}
		got := drained(t, p)
		p.Kill()
		if (got < want) != loses || got > want {
			t.Errorf("sabotaged %v: of %d messages in sound batches %d are there", loses, want, got)
		}
	}
	report(t, tally{Runs: 2, Lost: 1})
}

// drained is how many messages drains of "bills" give until there are no more.
func drained(t *testing.T, p *brokertest.Process) (messages int) {
	t.Helper()
	for {
		answer, err := p.Read("bills?format=json")
		if err != nil {
			t.Fatal(err)
		}
		if answer == "" {
			return messages
		}
		for _, line := range lines(answer) {
			if !strings.HasPrefix(line, "-") {
				messages++
			}
		}
	}
}
