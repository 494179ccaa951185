package flags

import (
	"os"
	"path/filepath"
	"strings"
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
		words = append(words, Quote(word))
	}
	return strings.Join(words, " ")
}

// Quote makes a word of a shell of a text.
func Quote(text string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+"
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
