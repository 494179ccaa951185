package record

import (
	"strings"
	"testing"
)

func TestNamesOfTopicsAndGroups(t *testing.T) {
	for _, name := range []string{"a", "orders", "A-Z.a_z-0.9", "...", "__offsets", strings.Repeat("x", 249)} {
		if err := CheckName("topic", name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a b", "a/b", "a\n", "ä", "a?b", "a\x00", strings.Repeat("x", 250)} {
		if err := CheckName("topic", name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestTheErrorSaysWhichNameIsWrongAndWhatItTakes(t *testing.T) {
	const want = `invalid group name "no such/group": it takes 1 to 249 of A-Z a-z 0-9 . _ - and not . or ..`
	if err := CheckName("group", "no such/group"); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
