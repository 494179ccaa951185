package programs

import (
	"sync"
	"testing"

	"mbus/test/brokertest"
)

func TestThousandTopicsAreThereAfterAKill(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	concurrently(1000, func(i int) {
		if answer := send(t, b.Producers(), "topic-"+itoa(i)+"\nmessage "+itoa(i)+"\n"); answer != "+1\n" {
			t.Errorf("topic %d was answered %q", i, answer)
		}
	})
	b.Restart()
	t.Logf("listening after %v", b.ReadyAfter())
	concurrently(1000, func(i int) {
		if got, err := b.Read("topic-" + itoa(i)); got != "message "+itoa(i)+"\n" {
			t.Errorf("topic %d has %q (%v)", i, got, err)
		}
	})
}

// concurrently calls f for 0 to n-1, some at the same time.
func concurrently(n int, f func(i int)) {
	const workers = 32
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	working.Wait()
}
