package clusterfault

import (
	"fmt"
	"testing"
	"time"
)

// C05: the owner stands still for a while, with clients on it, and does not know that it did.
func TestC05OwnerIsFrozen(t *testing.T) {
	l := start(t)
	faults := 0
	for range runs(1, 10) {
		for _, d := range []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}[:runs(2, 3)] {
			b := l.cluster.Nodes[l.cluster.Owner()]
			l.strike(fmt.Sprint("C05, frozen for ", d), func() {
				if err := b.Freeze(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(d) // so long is the fault
				if err := b.Thaw(); err != nil {
					t.Fatal(err)
				}
			})
			faults++
		}
	}
	l.judge("C05 frozen", faults)
}
