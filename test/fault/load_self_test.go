package fault

import (
	"math/rand/v2"
	"testing"

	"mbus/test/brokertest"
)

// Without a fault everything is there once and in order.
func TestF00NoFault(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	l := newLedger("calm")
	stop, total := make(chan struct{}), 0
	answer := l.publish(b.Producers(), name(0), rand.New(rand.NewPCG(1, 1)), stop, func(n int) {
		if total < 1000 && n >= 1000 {
			close(stop)
		}
		total = n
	})
	c := l.judge(lines(b.Drain("calm")))
	report(t, c)
	if answer != "" || c.Acked < 1000 || c.Read != c.Acked {
		t.Errorf("answer %q, %+v", answer, c)
	}
	c.mustKeep(t)
}
