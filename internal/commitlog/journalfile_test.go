package commitlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

const testSalt = 0x1122334455667788

// testRounds is a journal file with rounds of some frames each, and the frames.
func testRounds(counts ...int) (file []byte, list []storedFrame) {
	rng := rand.New(rand.NewPCG(uint64(len(counts)), 2))
	for i, count := range counts {
		file = append(file, make([]byte, roundUp(len(file), roundAlign)-len(file))...)
		for index := range count {
			data := make([]byte, 1+rng.IntN(900))
			for k := range data {
				data[k] = byte(rng.Uint32())
			}
			n := int64(len(list))
			f := frame{[16]byte{byte(index)}, int32(index), 7, 10, 100 * n, 20 + n, 21 + n}
			at := len(file)
			file = appendFrame(file, testSalt, uint64(i+1), index, count, f, data)
			list = append(list, storedFrame{f, at, uint64(i + 1), index, count, len(data), data, false})
		}
	}
	return append(file, make([]byte, roundUp(len(file), roundAlign)-len(file)+roundAlign)...), list
}

// foundAll says that the frames are those of the list without some.
func foundAll(got, want []storedFrame, lost func(i int) bool) error {
	var valid []storedFrame
	for _, f := range got {
		if f.data != nil {
			valid = append(valid, f)
		}
	}
	n := 0
	for i, f := range want {
		if lost(i) {
			continue
		}
		if n == len(valid) {
			return fmt.Errorf("frame %d of %d is not found", i, len(want))
		}
		if g := valid[n]; g.frame != f.frame || !bytes.Equal(g.data, f.data) || g.at != f.at || g.round != f.round || g.index != f.index {
			return fmt.Errorf("found %+v, want frame %d, %+v", g, i, f)
		}
		n++
	}
	if n < len(valid) {
		return fmt.Errorf("found %d frames too many, the first is %+v", len(valid)-n, valid[n])
	}
	return nil
}

func none(int) bool { return false }

func TestJournalFramesAreFoundAsTheyWereWritten(t *testing.T) {
	for _, counts := range [][]int{{}, {1}, {1, 1, 1}, {3, 1, 40}, {100}} {
		file, want := testRounds(counts...)
		got := scanJournal(file, testSalt)
		if err := foundAll(got.frames, want, none); err != nil || len(got.damage)+len(got.torn) > 0 {
			t.Errorf("rounds of %v: %v; damage %v, torn %v", counts, err, got.damage, got.torn)
		}
		if got := scanJournal(file, testSalt+1); len(got.frames) > 0 {
			t.Errorf("rounds of %v: %d frames with another salt", counts, len(got.frames))
		}
	}
}

// Damage of a byte, or the loss of a sector, costs the frames that it touches. In the last round that is
// the rest of an unfinished write.
func TestDamageInAJournalCostsTheFramesThatItTouches(t *testing.T) {
	file, list := testRounds(2, 3, 1, 2)
	for at := range file {
		damaged := bytes.Clone(file)
		damaged[at] ^= 1 << (at % 8)
		checkDamaged(t, damaged, list, at, at+1)
	}
	for at := 0; at < len(file); at += sectorBytes {
		for _, with := range []byte{0, filling} {
			damaged := bytes.Clone(file)
			for i := range sectorBytes {
				damaged[at+i] = with
			}
			checkDamaged(t, damaged, list, at, at+sectorBytes)
		}
	}
}

// checkDamaged scans a file that is damaged between two positions.
func checkDamaged(t *testing.T, file []byte, list []storedFrame, from, to int) {
	t.Helper()
	got := scanJournal(file, testSalt)
	last := list[len(list)-1].round
	touched, torn := 0, 0
	lost := func(i int) bool {
		f := list[i]
		return f.at+frameHeader+f.size > from && f.at < to
	}
	for i, f := range list {
		if lost(i) {
			touched++
			if f.round == last {
				torn++
			}
		}
	}
	if err := foundAll(got.frames, list, lost); err != nil {
		t.Fatalf("bytes %d to %d damaged: %v", from, to, err)
	}
	if reported := len(got.damage) > 0; reported != (touched > torn) {
		t.Fatalf("bytes %d to %d damaged, %d frames touched, %d of the last round: damage %v", from, to, touched, torn, got.damage)
	}
	if reported := len(got.torn) > 0; reported != (torn > 0) {
		t.Fatalf("bytes %d to %d damaged, %d frames touched, %d of the last round: torn %v", from, to, touched, torn, got.torn)
	}
	for _, s := range append(got.damage, got.torn...) {
		if s.from > int64(to) || s.to < int64(from) || s.to <= s.from {
			t.Fatalf("bytes %d to %d damaged: reported is %v", from, to, s)
		}
	}
}

func TestAJournalCutShortIsAnUnfinishedRound(t *testing.T) {
	file, list := testRounds(2, 3, 4)
	begin := list[5].at
	for n := begin + 1; n < list[8].at+frameHeader+list[8].size; n += 37 {
		short := append(bytes.Clone(file[:n]), make([]byte, len(file)-n)...)
		got := scanJournal(short, testSalt)
		if err := foundAll(got.frames, list, func(i int) bool { return i >= 5 && list[i].at+frameHeader+list[i].size > n }); err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if n >= begin+frameHeader && len(got.torn) == 0 || len(got.damage) > 0 {
			t.Fatalf("cut to %d bytes: damage %v, torn %v", n, got.damage, got.torn)
		}
	}
}

// A file is used again: the frames that it held are no frames any more.
func TestFramesOfAnEarlierUseOfAJournalFileAreNone(t *testing.T) {
	file, _ := testRounds(4, 4, 4)
	second := appendFrame(nil, testSalt+1, 1, 0, 1, frame{first: 1, next: 2}, []byte("again"))
	copy(file, second)
	got := scanJournal(file, testSalt+1)
	if len(got.frames) != 1 || string(got.frames[0].data) != "again" || len(got.damage)+len(got.torn) > 0 {
		t.Errorf("found %+v", got)
	}
}

// Messages with a whole frame in them, or with the salt everywhere, are data.
func TestAFrameInsideTheDataOfAnotherIsNone(t *testing.T) {
	inner := appendFrame(nil, testSalt, 9, 0, 1, frame{first: 1, next: 2}, []byte("forged"))
	file := appendFrame(nil, testSalt, 1, 0, 1, frame{first: 1, next: 2}, inner)
	got := scanJournal(file, testSalt)
	if len(got.frames) != 1 || !bytes.Equal(got.frames[0].data, inner) {
		t.Errorf("found %+v", got.frames)
	}
	file[frameHeader] ^= 1 // the data are damaged, and their length is known
	if got := scanJournal(file, testSalt); len(got.frames) != 1 || got.frames[0].data != nil {
		t.Errorf("found %+v", got.frames)
	}
}

// A publisher does not know the salt: what a message holds is no frame, although the header in front of it
// is damaged, and its length with it. It would be one with the salt, which only a user of the data
// directory can read.
func TestAMessageIsNoFrameBehindADamagedHeader(t *testing.T) {
	for bit := range 8 * frameHeader {
		for _, salt := range []uint64{testSalt + 1, testSalt} {
			inner := appendFrame(nil, salt, 1, 0, 1, frame{first: 1, next: 2}, []byte("forged"))
			file := appendFrame(nil, testSalt, 1, 0, 2, frame{first: 1, next: 2}, inner)
			file = appendFrame(file, testSalt, 1, 1, 2, frame{first: 7, next: 9}, []byte("real"))
			file[bit/8] ^= 1 << (bit % 8)
			got, want := scanJournal(file, testSalt).frames, 1
			if salt == testSalt {
				want = 2
			}
			if len(got) != want || got[len(got)-1].first != 7 {
				t.Fatalf("bit %d, salt %x: found %+v", bit, salt, got)
			}
		}
	}
}

func TestJournalNames(t *testing.T) {
	n := journalName{17, 0xab}
	if got := n.String(); got != "00000000000000000017-00000000000000ab" {
		t.Errorf("the name is %s", got)
	}
	if got, ok := parseJournalName(n.String()); !ok || got != n {
		t.Errorf("it is read as %v", got)
	}
	for _, s := range []string{"", "-", "17-ab", "00000000000000000017-00000000000000AB", n.String() + "0", "00000000000000000017", "99999999999999999999-00000000000000ab"} {
		if _, ok := parseJournalName(s); ok {
			t.Errorf("%q is a name", s)
		}
	}
}

// FuzzScanJournal reads anything as a journal file. The frames that are found are in it, in order and
// apart.
func FuzzScanJournal(f *testing.F) {
	for _, counts := range [][]int{{1}, {2, 3}, {1, 1, 1}} {
		file, _ := testRounds(counts...)
		f.Add(file)
		f.Add(file[:len(file)/2])
		f.Add(file[8:])
	}
	f.Add(bytes.Repeat(binary.BigEndian.AppendUint64(nil, testSalt), 1000))
	f.Fuzz(func(t *testing.T, p []byte) {
		got := scanJournal(p, testSalt)
		at := 0
		for _, f := range got.frames {
			if f.at < at || f.end() > len(p) || f.data != nil && !bytes.Equal(f.data, p[f.at+frameHeader:f.at+frameHeader+f.size]) {
				t.Fatalf("a frame from %d to %d of %d bytes, behind %d", f.at, f.end(), len(p), at)
			}
			at = f.end()
			if again := appendFrame(nil, testSalt, f.round, f.index, f.count, f.frame, f.data); f.data != nil && !bytes.Equal(again[:frameHeader], p[f.at:f.at+frameHeader]) {
				t.Fatalf("the frame at %d is written otherwise", f.at)
			}
		}
		for _, s := range append(got.damage, got.torn...) {
			if s.from < 0 || s.to <= s.from {
				t.Fatalf("damage is %v", s)
			}
		}
	})
}

func BenchmarkScanJournal(b *testing.B) {
	var full []byte
	for round := uint64(1); len(full) < 32<<20; round++ {
		for i := range 128 {
			full = appendFrame(full, testSalt, round, i, 128, frame{first: 1, next: 2}, make([]byte, 150))
		}
		full = append(full, make([]byte, roundUp(len(full), roundAlign)-len(full))...)
	}
	for name, file := range map[string][]byte{
		"frames": full,
		"zeros":  make([]byte, 32<<20),
		"salts":  bytes.Repeat(binary.BigEndian.AppendUint64(nil, testSalt), 4<<20),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				scanJournal(file, testSalt)
			}
		})
	}
}
