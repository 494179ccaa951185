package kafka

import "testing"

// slow begins a test that takes a good part of a second or more, mostly by waiting: -short
// leaves it out, so that the tests of the package take a few seconds while somebody works on it.
func slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow, and left out by -short")
	}
}
