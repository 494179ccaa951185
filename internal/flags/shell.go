package flags

import (
	"os"
	"path/filepath"
	"strings"

	"mbus/internal/units"
)

// Sibling is the command that starts a program in the directory of this one.
func Sibling(program string) string {
	dir, _ := filepath.Split(os.Args[0])
	return dir + program
}

// CommandLine is the one that started this program, as a shell takes it, with more arguments.
func CommandLine(more ...string) string {
	var words []string
	for _, word := range append(os.Args[:len(os.Args):len(os.Args)], more...) {
		words = append(words, units.Quoted(word))
	}
	return strings.Join(words, " ")
}
