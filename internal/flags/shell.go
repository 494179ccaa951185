package flags

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mbus/internal/units"
)

// Sibling is the command that starts a program in the directory of this one.
func Sibling(program string) string {
	dir, _ := filepath.Split(os.Args[0])
	return dir + program
}

// CommandLine is the one that started this program, as a shell takes it, with more flags and their values. These replace
// the same flags in it.
func CommandLine(more ...string) string {
	words := []string{os.Args[0]}
	for i := 1; i < len(os.Args); i++ {
		name, _, hasValue := strings.Cut(os.Args[i], "=")
		at := slices.Index(more, "-"+strings.TrimLeft(name, "-"))
		switch {
		case !strings.HasPrefix(name, "-") || at < 0:
			words = append(words, os.Args[i])
		case !hasValue:
			i++
		}
	}
	words = append(words, more...)
	for i, word := range words {
		words[i] = units.Quoted(word)
	}
	return strings.Join(words, " ")
}
