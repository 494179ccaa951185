package programs

import (
	"testing"

	"mbus/test/brokertest"
)

func TestThousandTopicsAreThereAfterAKill(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for i := range 1000 {
		b.Publish("topic-"+itoa(i), "message "+itoa(i))
	}
	b.Restart()
	t.Logf("listening after %v", b.ReadyAfter())
	for i := range 1000 {
		mustEqual(t, b.Drain("topic-"+itoa(i)), "message "+itoa(i)+"\n")
	}
}
