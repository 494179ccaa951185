package programs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// manyMessages are n messages of about 100 bytes, each different.
func manyMessages(n int) []string {
	filler := strings.Repeat("x", 90)
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%08d %s", i, filler)
	}
	return list
}

// realText makes lines such as real files have: words of many scripts, control
// bytes, empty lines, bytes that are no UTF-8, lengths up to a few KiB. The
// same seed makes the same text.
func realText(seed uint64, lines int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var b bytes.Buffer
	for range lines {
		switch r.IntN(20) {
		case 0: // empty
		case 1:
			for range r.IntN(3000) {
				b.WriteByte(anyByteButLF(r))
			}
		default:
			for range 1 + r.IntN(20) {
				b.WriteString(words[r.IntN(len(words))])
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func anyByteButLF(r *rand.Rand) byte {
	if c := byte(r.IntN(256)); c != '\n' {
		return c
	}
	return 0
}

var words = []string{
	"order ", "naïve ", "Grüße ", "日本語", "🚌 ", "\t", "\r", "\x00", "\x1b[31m", " ", "+17", "-FAILED ", ".", "`%s\\n`", "\ufeff",
}

// mustEqual compares long texts and shows where they part.
func mustEqual(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	t.Fatalf("%d bytes, not %d, and different from byte %d on: %q, not %q", len(got), len(want), n,
		got[n:min(n+80, len(got))], want[n:min(n+80, len(want))])
}

func writeFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
