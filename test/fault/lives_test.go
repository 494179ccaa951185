package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A crowd is publishers and consumers at work on one topic, over the lives of a
// broker, and all that they have been promised.
type crowd struct {
	t          *testing.T
	b          *brokertest.Broker
	random     *rand.Rand
	ledger     *ledger
	publishers int
	watchers   []*watcher
	drains     []*reader
	workers    []*worker
	phoenix    *phoenix  // nil for none
	users      *userBook // nil for none
	kafka      *standing // of the group of a Kafka client, which publishes, too; nil for none
	mortal     bool      // the broker may end by itself
	rest       func()    // while they live: ends the publishers when all is answered
}

// newCrowd is of half as many watchers and drains as workers.
func newCrowd(t *testing.T, b *brokertest.Broker, topic string, seed uint64, publishers, consumers int) *crowd {
	c := &crowd{
		t: t, b: b, ledger: newLedger(topic), publishers: publishers,
		random: rand.New(rand.NewPCG(seed, 0)),
	}
	for i := range consumers {
		switch i % 4 {
		case 0:
			c.watchers = append(c.watchers, &watcher{newReader(topic, "")})
		case 1:
			c.drains = append(c.drains, newReader(topic, fmt.Sprintf("drain%d", i)))
		default:
			c.workers = append(c.workers, newWorker(topic, fmt.Sprintf("work%d", i)))
		}
	}
	return c
}

// seeds are different ones for each run and each call.
func seeds(t *testing.T) uint64 {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return seed
}

// live has all work until so many messages have been acknowledged, calls end,
// which is to end the broker, and waits for all to notice.
func (c *crowd) live(acks int, end func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.rest = cancel
	var working sync.WaitGroup
	m := newMeter(acks)
	c.publish(ctx, &working, m)
	c.consume(&working)
	select {
	case <-m.reached:
	case <-c.b.Ended():
		if !c.mortal {
			c.t.Errorf("the broker has ended by itself: %s", c.b.Output())
		}
	case <-time.After(time.Minute):
		c.t.Errorf("the publishers get too few acknowledgements: %s", c.b.Output())
	}
	end()
	cancel()
	working.Wait()
}

// publish has all publish until ctx ends or the broker is gone.
func (c *crowd) publish(ctx context.Context, working *sync.WaitGroup, m *meter) {
	address := c.b.Producers()
	for i := range c.publishers {
		r := rand.New(rand.NewPCG(c.random.Uint64(), 0))
		last := 0
		working.Go(func() {
			c.ledger.publish(address, name(i), r, ctx.Done(), func(n int) {
				m.count(n - last)
				last = n
			})
		})
	}
	if c.kafka != nil {
		c.liveKafka(ctx, working, m.count)
	}
	if c.users != nil {
		working.Go(c.users.work)
	}
	if c.phoenix != nil {
		process := c.b.Process
		working.Go(func() {
			if err := c.phoenix.work(process); err != nil {
				c.t.Error(err)
			}
		})
	}
}

// consume has all consume until the broker is gone.
func (c *crowd) consume(working *sync.WaitGroup) {
	address := c.b.Consumers()
	for _, w := range c.watchers {
		working.Go(func() { w.work(address) })
	}
	for _, d := range c.drains {
		working.Go(func() { d.drainOn(address) })
	}
	for _, w := range c.workers {
		working.Go(func() { w.work(address) })
	}
}

// liveKafka has a Kafka client publish, and commit offsets, until ctx ends.
func (c *crowd) liveKafka(ctx context.Context, working *sync.WaitGroup, counted func(n int)) {
	address := c.b.Kafka()
	working.Go(func() {
		if err := c.ledger.publishAsKafka(ctx, address, counted); err != nil {
			c.t.Error(err)
		}
	})
	working.Go(func() {
		if err := c.kafka.commitAsKafka(ctx, address, c.ledger.topic); err != nil {
			c.t.Error(err)
		}
	})
}

// check is loss, and fails the test if there is any.
func (c *crowd) check() tally {
	c.t.Helper()
	sum := c.loss()
	if bad := sum.Lost + sum.Holes + sum.Duplicates + sum.Reordered + sum.Phantoms; bad > 0 {
		c.t.Errorf("%+v, %q", sum, c.astray())
	}
	if c.phoenix != nil {
		c.phoenix.check(c.t, c.b)
	}
	if c.users != nil {
		c.users.check()
	}
	for _, g := range c.standings() { // ?groups has shown it
		g.confirmed = max(g.confirmed, positionOf(c.b, g.group, c.ledger.topic))
	}
	return sum
}

// loss reads everything back, without consuming it, and compares it with all
// promises made so far. A position that is not where it must be counts as one lost.
func (c *crowd) loss() tally {
	c.t.Helper()
	read := lines(c.b.Drain(c.ledger.topic + "?from=beginning"))
	sum := c.ledger.judge(read)
	there := make(map[string]bool, len(read))
	for _, text := range read {
		there[text] = true
	}
	for _, r := range c.readers() {
		for text := range r.got {
			if !there[text] {
				sum.Lost++ // a consumer was shown it
			}
		}
	}
	sum.Lost += len(c.astray())
	return sum
}

// astray tells which groups' positions are before what was confirmed, or behind
// what was acknowledged.
func (c *crowd) astray() (list []string) {
	for _, g := range c.standings() {
		if at := positionOf(c.b, g.group, c.ledger.topic); at < g.confirmed || at > g.acked {
			list = append(list, fmt.Sprintf("group %s is at %d: up to %d was confirmed, up to %d acknowledged",
				g.group, at, g.confirmed, g.acked))
		}
	}
	return list
}

func (c *crowd) standings() (all []*standing) {
	for _, w := range c.workers {
		all = append(all, w.standing)
	}
	if c.kafka != nil {
		all = append(all, c.kafka)
	}
	return all
}

func (c *crowd) readers() (all []*reader) {
	all = append(all, c.drains...)
	for _, w := range c.watchers {
		all = append(all, w.reader)
	}
	for _, w := range c.workers {
		all = append(all, w.reader)
	}
	return all
}

// finish checks delivery at least once: with the messages left for it each group has
// got every message that is in the topic.
func (c *crowd) finish() (sum tally) {
	c.t.Helper()
	log := lines(c.b.Drain(c.ledger.topic + "?from=beginning"))
	groups := c.drains
	for _, w := range c.workers {
		groups = append(groups, w.reader)
	}
	for _, r := range groups {
		for _, text := range lines(c.b.Drain(c.ledger.topic + "?group=" + r.group)) {
			r.got[text] = true
		}
		missed := 0
		for _, text := range log {
			if !r.got[text] {
				missed++
			}
		}
		if missed > 0 {
			c.t.Errorf("group %s never got %d messages of %d", r.group, missed, len(log))
		}
		sum.Lost += missed
	}
	return sum
}

// report checks everything at the end of a crowd and reports it, with what was
// counted before.
func (c *crowd) report(before tally) {
	c.t.Helper()
	sum := c.check()
	sum.Runs--
	sum.add(before)
	sum.add(c.finish())
	c.ledger.mustAnswer(c.t, c.b)
	report(c.t, sum)
}

// A meter closes reached when so many have been counted.
type meter struct {
	reached chan struct{}

	mu   sync.Mutex // guards left
	left int
}

func newMeter(n int) *meter { return &meter{reached: make(chan struct{}), left: n} }

func (m *meter) count(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left > 0 && m.left <= n {
		close(m.reached)
	}
	m.left -= n
}
