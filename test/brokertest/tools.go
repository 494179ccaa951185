package brokertest

import (
	"os/exec"
	"testing"
)

// NeedTools begins what runs programs that "make test" installs (scripts/need.sh). Where one is missing the test fails;
// with -short it is left out.
func NeedTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if testing.Short() {
			t.Skipf("needs %s, and is left out by -short", name)
		}
		t.Fatalf("%s is missing: \"make test\" installs it", name)
	}
}
