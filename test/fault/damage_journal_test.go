package fault

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"mbus/internal/vfs/crashfs"
)

// isJournal tells the files of the journal.
func isJournal(name string) bool { return strings.HasPrefix(name, specimenRoot+"/journal/") }

// journalFiles are the names of the journal's files, and of all others.
func (s *specimen) journalFiles() (journal, others []string) {
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if isJournal(name) {
			journal = append(journal, name)
		} else {
			others = append(others, name)
		}
	}
	return journal, others
}

// F43: any damage to the journal of a broker that was killed costs nothing, as the segments hold
// all of it; and damage to a segment costs no more than without a journal.
func TestF43AnyDamageBesideAJournalAfterAKill(t *testing.T) {
	var c tally
	for seed := range uint64(runs(4, 40)) {
		s := newJournalSpecimen(t, seed, 20, (*crashfs.FS).KillClone)
		names := slices.Sorted(maps.Keys(s.files))
		journal, others := s.journalFiles()
		r := rand.New(rand.NewPCG(430, seed))
		for range runs(150, 1500) {
			disk, what := s.clone(), ""
			list := some(r, journal, 1)
			if r.IntN(2) == 0 {
				list = some(r, others, 1+r.IntN(3))
			}
			for _, name := range list {
				how, content := mangle(r, s.files[name], s.files[names[r.IntN(len(names))]])
				what += fmt.Sprintf("%s: %s; ", name, how)
				replace(t, disk, name, content)
			}
			x := s.examine(disk)
			c.add(x.tally)
			if x.problem == "" && isJournal(list[0]) && len(x.missing) > 0 {
				x.problem = "only the journal is damaged, and something is missing"
			}
			if x.problem != "" {
				t.Fatalf("seed %d, %s %s\n%v\n%v", seed, what, x.problem, x.found, x.reported)
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// some are n of the names, of different segments.
func some(r *rand.Rand, names []string, n int) (list []string) {
	stems := make(map[string]bool)
	for range n {
		name := names[r.IntN(len(names))]
		stem := strings.TrimSuffix(name, path.Ext(name))
		if !stems[stem] {
			list = append(list, name)
		}
		stems[stem] = true
	}
	return list
}

// replace gives a file another content, or removes it.
func replace(t testing.TB, disk *crashfs.FS, name string, content []byte) {
	t.Helper()
	if content == nil {
		drop(t, disk, name)
	} else {
		put(t, disk, name, content)
	}
}

// F43: after a power cut only the journal holds what was acknowledged last. What its damage costs is
// reported, at least as damage of the journal, and nothing else than what was stored is served.
func TestF43AnyDamageToAJournalAfterAPowerCut(t *testing.T) {
	var c tally
	for seed := range uint64(runs(4, 40)) {
		s := newJournalSpecimen(t, seed, 20, func(d *crashfs.FS) *crashfs.FS { return d.Crash(crashfs.Nothing()) })
		whole := s.examine(s.clone())
		if whole.problem != "" || len(whole.missing) > 0 {
			t.Fatalf("seed %d: undamaged: %s, missing are %v", seed, whole.problem, whole.missing)
		}
		journal, _ := s.journalFiles()
		r := rand.New(rand.NewPCG(431, seed))
		for range runs(150, 1500) {
			name := journal[r.IntN(len(journal))]
			how, content := mangleWritten(r, s.files[name])
			disk := s.clone()
			replace(t, disk, name, content)
			x := s.examine(disk)
			if x.problem != "" && x.Phantoms == 0 && (slices.ContainsFunc(x.found, isOfJournal) || reachesLastRound(s.files[name], content)) {
				x.problem, x.Lost = "", 0
			}
			c.add(x.tally)
			if x.problem != "" {
				t.Fatalf("seed %d, %s: %s: %s\n%v\n%v", seed, name, how, x.problem, x.found, x.reported)
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// reachesLastRound says that the content of a journal file is damaged in its last round, or up to it: a
// crash can do the same to a round that is not synced. Rounds are small here.
func reachesLastRound(content, damaged []byte) bool {
	last := (written(content) - 1) &^ 4095 // it begins there
	return len(damaged) == len(content) && !bytes.Equal(content[last:], damaged[last:])
}

// F43: a flipped bit costs the frame that it is in, and no other.
func TestF43FlippedBitInAJournalAfterAPowerCut(t *testing.T) {
	var c tally
	for seed := range uint64(runs(2, 20)) {
		s := newJournalSpecimen(t, seed, 12, func(d *crashfs.FS) *crashfs.FS { return d.Crash(crashfs.Nothing()) })
		for name, content := range s.files {
			if !isJournal(name) || written(content) == 0 {
				continue
			}
			r := rand.New(rand.NewPCG(432, seed))
			for range runs(100, 1000) {
				bit := r.IntN(8 * written(content))
				disk := s.clone()
				put(t, disk, name, flip(content, bit))
				x := s.examine(disk)
				if len(x.missing) > 1 || x.Phantoms > 0 || x.refused != nil || len(x.missing) > 0 && !slices.ContainsFunc(x.found, isOfJournal) {
					t.Fatalf("seed %d, bit %d of %s: missing are %v, %s\n%v", seed, bit, name, x.missing, x.problem, x.found)
				}
				x.Lost = 0
				c.add(x.tally)
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}
