package message

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

// Each name that a topic may have gives another one, and each of these is a name.
func TestEveryTopicMayHaveDeadLetters(t *testing.T) {
	const of245 = 245
	if got, want := DeadLettersOf(strings.Repeat("x", of245)), strings.Repeat("x", of245)+".dlq"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got, want := DeadLettersOf(strings.Repeat("x", 246)), strings.Repeat("x", 232)+".8cc53d6331e7.dlq"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	seen := make(map[string]string)
	for n := 1; n <= MaxName; n++ {
		for _, end := range []string{"x", "y"} {
			name := strings.Repeat("x", n-1) + end
			dead := DeadLettersOf(name)
			if err := CheckName("topic", dead); err != nil || !strings.HasSuffix(dead, DeadLetters) || seen[dead] != "" {
				t.Errorf("those of %q are in %q, as those of %q: %v", name, dead, seen[dead], err)
			}
			seen[dead] = name
		}
	}
}
