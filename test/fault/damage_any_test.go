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

	"mbus/internal/batch"
)

// F9, widely: any file of the directory, the small ones included, is damaged in any
// way. Whatever it costs is reported, to readers and by -verify, or the store does
// not open; nothing else than what was stored is ever served.
func TestF09AnyDamageToAnyFile(t *testing.T) {
	var c tally
	for seed := range uint64(runs(4, 40)) {
		s := newSpecimen(t, seed, 20, seed%2 == 0, nil)
		names := slices.Sorted(maps.Keys(s.files))
		r := rand.New(rand.NewPCG(90, seed))
		for range runs(250, 1500) {
			disk := s.clone()
			what, stems := "", make(map[string]bool)
			for range 1 + r.IntN(3) {
				name := names[r.IntN(len(names))]
				stem := strings.TrimSuffix(name, path.Ext(name))
				if stems[stem] {
					continue // of a last segment that goes with its index nobody knows
				}
				stems[stem] = true
				how, content := mangle(r, s.files[name], s.files[names[r.IntN(len(names))]])
				what += fmt.Sprintf("%s: %s; ", name, how)
				if content == nil {
					drop(t, disk, name)
				} else {
					put(t, disk, name, content)
				}
			}
			x := s.examine(disk)
			c.add(x.tally)
			if x.problem != "" {
				t.Fatalf("seed %d, %s %s\n%v\n%v", seed, what, x.problem, x.found, x.reported)
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// behindPlace is a position, or one behind it that does not lie between the base offset of
// a batch and its checksum: what another log, or the same one elsewhere, has from there on
// can't be distinguished from the batch's own if it is as long (docs/decisions has it as "leader epoch").
func behindPlace(log []byte, pos int) int {
	for at := 0; at < len(log); {
		b, _, err := batch.Next(log[at:])
		if err != nil {
			break // it is no log, or its end
		}
		if pos >= at+8 && pos <= at+17 {
			return at + 18
		}
		at += len(b)
	}
	return pos
}

// mangle makes other content of a file's; nil for none at all.
func mangle(r *rand.Rand, own, other []byte) (how string, content []byte) {
	p := bytes.Clone(own)
	from := r.IntN(len(p) + 1)
	to := from + r.IntN(len(p)-from+1)
	switch r.IntN(8) {
	case 0:
		return "missing", nil
	case 1:
		return fmt.Sprintf("cut off at %d", from), p[:from]
	case 2:
		clear(p[from:to])
		return fmt.Sprintf("zeros from %d to %d", from, to), p
	case 3:
		fillRandom(r, p[from:to])
		return fmt.Sprintf("garbage from %d to %d", from, to), p
	case 4:
		at := r.IntN(len(p) + 1)
		copy(p[at:], own[from:to])
		return fmt.Sprintf("bytes %d to %d again at %d", from, to, at), p
	case 5:
		n := min(len(other), len(p))
		from = behindPlace(own, r.IntN(n+1))
		copy(p[min(from, n):], other[min(from, n):n])
		return fmt.Sprintf("another file's bytes %d to %d", from, n), p
	case 6:
		tail := make([]byte, r.IntN(700))
		fillRandom(r, tail)
		return fmt.Sprintf("%d bytes more", len(tail)), append(p, tail...)
	}
	if len(p) == 0 {
		return "nothing", p
	}
	bit := r.IntN(8 * len(p))
	return fmt.Sprintf("bit %d flipped", bit), flip(p, bit)
}
