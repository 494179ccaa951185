package units

import "testing"

func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{
		"orders": "orders", "-data=./a-b_c": "-data=./a-b_c", "a@b:9,%+": "a@b:9,%+",
		"": "''", "a b": "'a b'", "*": "'*'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "~": "'~'", "é": "'é'", "a\nb": "'a\nb'",
	} {
		if got := Quoted(text); got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
}
