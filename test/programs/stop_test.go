package programs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

func TestTerminatedBrokerEndsWellWithClientsConnected(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("old", manyMessages(200_000)...)
	for i := range 5 {
		brokertest.Dial(t, b.Consumers(), "old?group=g"+itoa(i)+"\n") // and never read
		brokertest.Dial(t, b.Producers(), "idle\n")
		brokertest.Dial(t, b.Producers(), "half a request")
	}
	publishers, working := load(b.Producers(), 5, 4000)
	begun := time.Now()
	b.Stop()
	t.Logf("ended after %v", time.Since(begun))
	working.Wait()
	b.Restart()
	sum := check(t, publishers, b.Drain("load"))
	if sum.lost > 0 || sum.duplicates > 0 || sum.acked < 20_000 {
		t.Errorf("%+v", sum)
	}
}

func TestTerminatedBrokerAnswersItsClients(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	publishers, working := load(b.Producers(), 3, 300)
	b.Stop()
	working.Wait()
	for _, p := range publishers {
		if !strings.HasPrefix(p.answer, "-SHUTDOWN ") {
			t.Errorf("%s: the last answer was %q", p.name, p.answer)
		}
	}
}

// load publishes over n connections until they fail. It returns when so many messages
// are acknowledged on each.
func load(address string, n, messages int) (publishers []*publisher, working *sync.WaitGroup) {
	working = new(sync.WaitGroup)
	var countdowns []*countdown
	for i := range n {
		p, c := &publisher{name: fmt.Sprintf("p%d", i)}, newCountdown(messages)
		publishers, countdowns = append(publishers, p), append(countdowns, c)
		r := rand.New(rand.NewPCG(uint64(i), 0))
		working.Go(func() {
			p.session(address, "load", r, c.count)
			c.count(messages) // one that has failed is not waited for
		})
	}
	for _, c := range countdowns {
		<-c.enough
	}
	return publishers, working
}
