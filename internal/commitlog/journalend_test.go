package commitlog

import (
	"bytes"
	"reflect"
	"testing"
)

// A scan finds the same in the part of a journal file that a start keeps in memory as in the whole file.
func TestTheEndOfAJournalFileIsFound(t *testing.T) {
	const size = 4 << 20
	for name, rounds := range map[string][]int{"empty": nil, "one round": {3}, "many rounds": {1, 40, 7, 300, 2}} {
		file, _ := testRounds(rounds...)
		used := len(file)
		file = append(file, make([]byte, size-used)...)
		for k, damage := range []int{-1, 8, used / 2 &^ 7, used - roundAlign + 3, used + 11} {
			p := bytes.Clone(file)
			if damage >= 0 {
				p[damage] ^= 1
			}
			end, err := journalEnd(bytes.NewReader(p), size, testSalt)
			if err != nil || end < min(size, int64(used)) || end > int64(used+maxFrame+4*roundAlign) {
				t.Errorf("%s, damage %d: the end is %d, of %d bytes with frames, %v", name, k, end, used, err)
			}
			if got, want := scanJournal(p[:end], testSalt), scanJournal(p, testSalt); !reflect.DeepEqual(got, want) {
				t.Errorf("%s, damage %d: %d frames are found, want %d", name, k, len(got.frames), len(want.frames))
			}
		}
	}
}
