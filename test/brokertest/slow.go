package brokertest

import (
	"os"
	"testing"
)

// Slow begins a test that takes a good part of a second or more, mostly by waiting. With -short
// alone it is left out, so that the tests of one package take a few seconds while a developer
// works on it. make quick runs it, with TEST_SLOW in the environment, beside those of other
// packages.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() && os.Getenv("TEST_SLOW") == "" {
		t.Skip("slow, and left out by -short alone")
	}
}
