package line_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// Publishes to two topics and a thousand acknowledgements of the same moment share one sync, because the
// positions of groups are records of a topic, too.
func TestPublishesAndAcknowledgementsOfAMomentShareASync(t *testing.T) {
	b := start(t, setup{disk: crashfs.New(), log: commitlog.Options{JournalBytes: 1 << 20}})
	journal := func(c crashfs.Call) bool { return c.Op == crashfs.Sync && strings.HasPrefix(c.Name, "/data/journal/") }
	var rounds atomic.Int64 // and two syncs when the files are made
	b.setup.disk.SetHook(func(c crashfs.Call) error {
		if journal(c) {
			rounds.Add(1)
		}
		return nil
	})
	await(t, "the journal is used", func() bool { // by topics that take turns
		for _, topic := range []string{"one", "second", "third"} {
			b.publish(topic, "message")
		}
		return rounds.Load() > 2
	})
	const n = 1000
	for range 20 {
		b.publish("orders", numbered(n, 0)...)
		c := b.dial(b.consumers, "orders?format=json&group=billing&follow&ack&confirm&window=1000\n")
		for range n {
			c.line()
		}
		var mu sync.Mutex
		written, syncs := make(map[string]bool), 0
		g := newGate()
		first := sync.OnceFunc(g.pass)
		b.setup.disk.SetHook(func(c crashfs.Call) error {
			if journal(c) {
				first() // the others join the round behind this one
			}
			mu.Lock()
			defer mu.Unlock()
			for _, topic := range []string{"second", "third", broker.PositionsTopic} {
				written[topic] = written[topic] || c.Op == crashfs.WriteAt && segmentOf(c, topic)
			}
			if c.Op == crashfs.Sync {
				syncs++
			}
			return nil
		})
		one := b.dial(b.producers, "one\nmessage\n")
		within(t, "a round begins", func() { <-g.held })
		c.send("+1000\n")
		second, third := b.dial(b.producers, "second\nmessage\n"), b.dial(b.producers, "third\nmessage\n")
		await(t, "all are written", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(written) == 3 && written["second"] && written["third"] && written[broker.PositionsTopic]
		})
		close(g.opened)
		for _, p := range []*client{one, second, third} {
			p.mustSay("+1")
		}
		c.mustSay("+1000")
		mu.Lock()
		shared := syncs == 2 // that of the first one, and theirs
		mu.Unlock()
		b.setup.disk.SetHook(nil)
		for _, p := range []*client{one, second, third, c} {
			p.finish().rest()
		}
		if shared {
			return
		}
	}
	t.Error("in 20 attempts they have never shared a sync")
}
