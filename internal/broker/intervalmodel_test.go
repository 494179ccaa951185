package broker_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// An intervalModel works with a broker that syncs only on demand, or when
// something relies on it, and knows what was synced.
type intervalModel struct {
	b      *bus
	rnd    *rand.Rand
	cut    atomic.Bool      // the power
	n      int              // messages that were sent
	far    int              // of these, those that wait for an hour
	acked  []string         // since the last sync
	synced []string         // before it
	buried map[int64]string // messages that have failed, by offset
	groups map[string]int64 // positions that are synced
}

// append publishes some messages, of which half are delayed if it is said so, now and then
// for an hour.
func (m *intervalModel) append(delay time.Duration) bool {
	t, err := m.b.MakeTopic("orders")
	if err != nil {
		return false
	}
	var b batch.Builder
	var texts []string
	isFar := delay > 0 && m.rnd.IntN(4) == 0
	if isFar {
		delay = time.Hour
	}
	for i := range 1 + m.rnd.IntN(4) {
		m.n++
		text := fmt.Sprintf("message %d", m.n)
		var headers []batch.Header
		if delay > 0 && i%2 == 0 {
			if isFar {
				m.far++
			}
			headers = []batch.Header{{Key: broker.HeaderDeliverAt, Value: fmt.Append(nil, time.Now().Add(delay).UnixMilli())}}
		}
		b.Add(time.Now().UnixMilli(), nil, fmt.Appendf(nil, "%s%300s", text, ""), headers...)
		texts = append(texts, text)
	}
	b.Close(0)
	if _, err := t.Partitions()[0].AppendAndWait(b.Bytes()); err != nil {
		return false
	}
	m.acked = append(m.acked, texts...)
	return true
}

// consume takes some messages for the group of lines, or one that has failed for good.
func (m *intervalModel) consume(bury bool) bool {
	t, err := m.b.Topic("orders")
	if err != nil {
		return true // there is none yet
	}
	p, err := m.b.Position("lines", t, 0)
	if err != nil {
		return false
	}
	defer p.Close()
	_, end := t.Partitions()[0].Offsets()
	s, _ := p.Free(end, time.Now())
	s.To = min(s.To, s.From+1+m.rnd.Int64N(4))
	if bury {
		s.To = min(s.To, s.From+1)
	}
	var member group.Member
	if s.Len() == 0 || !member.Lease(p, s, 0) {
		return true
	}
	if !bury {
		member.AckAll()
		return true
	}
	f, _, err := member.Fail(1, group.Retry{Attempts: 1}, time.Now())
	if err != nil || broker.WithRecord(t.Partitions()[0], s.From, func(r *batch.Record) error {
		m.buried[s.From] = strings.TrimRight(string(r.Value), " ")
		return nil
	}) != nil {
		return false
	}
	settled := make(chan struct{})
	m.b.Bury(t, f, "no good", func() { close(settled) })
	<-settled
	return true
}

// commit has a Kafka client commit that it has read all.
func (m *intervalModel) commit() bool {
	t, err := m.b.Topic("orders")
	if err != nil {
		return true
	}
	_, end := t.Partitions()[0].Offsets()
	done := make(chan []error, 1)
	m.b.CommitOffsets("kafka", []group.Commit{{Topic: "orders", Offset: end}}, func(errs []error) { done <- errs })
	return (<-done)[0] == nil
}

// sync makes all durable that has been answered.
func (m *intervalModel) sync() bool {
	if m.b.AwaitPositions() != nil {
		return false
	}
	groups := make(map[string]int64)
	for _, name := range []string{"lines", "kafka"} {
		if c, ok := m.b.CommittedOffset(name, "orders", 0); ok {
			groups[name] = c.Offset
		}
	}
	for _, t := range m.b.Topics() {
		done := make(chan error, 1)
		t.Partitions()[0].Sync(func(err error) { done <- err })
		if <-done != nil {
			return false
		}
	}
	m.synced, m.acked, m.groups = append(m.synced, m.acked...), nil, groups
	return true
}

// deliver waits until what was delayed is in its topic.
func (m *intervalModel) deliver(t testing.TB) bool {
	await(t, "what was delayed is delivered", func() bool {
		if m.n == 0 {
			return true
		}
		topic, err := m.b.Topic("orders")
		if err != nil {
			return m.cut.Load()
		}
		_, end := topic.Partitions()[0].Offsets()
		return m.cut.Load() || end == int64(m.n-m.far)
	})
	return true
}

// work goes on until something fails.
func (m *intervalModel) work(t testing.TB) {
	for ok, i := true, 0; ok && i < 60; i++ {
		switch m.rnd.IntN(12) {
		case 0, 1, 2:
			ok = m.append(0)
		case 3, 4:
			ok = m.append(time.Duration(1+m.rnd.IntN(4)) * time.Millisecond)
		case 5, 6:
			ok = m.consume(false)
		case 7:
			ok = m.consume(true)
		case 8:
			ok = m.commit()
		case 9:
			ok = m.sync()
		case 10:
			ok = m.deliver(t)
		case 11:
			m.b.Retain(time.Now().Add(time.Hour)) // which begins segments
		}
	}
}

// texts are the messages of a topic.
func texts(t *testing.T, topic *broker.Topic) map[string]bool {
	all := make(map[string]bool)
	for _, value := range arrivedFast(t, topic.Partitions()[0]) {
		all[strings.TrimRight(value, " ")] = true
	}
	return all
}

// outlives starts a broker on what a power cut has left, and says what positions claim
// that the logs do not have. What was synced, that broker must have in its topic.
func (m *intervalModel) outlives(t *testing.T, s setup) error {
	book, log := newLog()
	s.options.Log = log
	s.options.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } // all is due
	b := mustOpen(t, s)
	defer mustClose(t, b)
	if lines := book.Lines("beyond the end"); len(lines) > 0 {
		return fmt.Errorf("%q", lines)
	}
	orders, dead := mustMake(t, b, "orders"), mustMake(t, b, "orders.dlq")
	for name, at := range m.groups {
		if c, ok := b.CommittedOffset(name, "orders", 0); !ok || c.Offset < at {
			return fmt.Errorf("group %q is at %d (%v), and was at %d when that was synced", name, c.Offset, ok, at)
		}
	}
	c, _ := b.CommittedOffset("lines", "orders", 0)
	has := texts(t, dead)
	for offset, text := range m.buried {
		if offset < c.Offset && !has[text] {
			return fmt.Errorf("%q at %d is no dead letter, and its group is at %d", text, offset, c.Offset)
		}
	}
	await(t, "what was synced is in its topic", func() bool {
		has := texts(t, orders)
		for _, text := range m.synced {
			if !has[text] {
				return false
			}
		}
		return true
	})
	return nil
}

// cutAtAnyCall has a broker work with an interval between syncs until the power goes, and
// calls check with the setup of a broker on what that leaves.
func cutAtAnyCall(t *testing.T, seed uint64, wrap func(store.Store) store.Store, check func(m *intervalModel, what string, after setup)) {
	limits := patientLimits()
	limits.CompactDelayed = 2 << 10
	s := setup{
		disk: crashfs.New(), log: commitlog.Options{SyncEvery: time.Hour, SegmentBytes: 6 << 10},
		options: broker.Options{Limits: limits, Retention: day}, wrap: wrap,
	}
	m := &intervalModel{b: mustOpen(t, s), rnd: rand.New(rand.NewPCG(seed, 99)), buried: make(map[int64]string)}
	var calls atomic.Int64
	at := 20 + m.rnd.Int64N(600)
	s.disk.SetHook(func(crashfs.Call) error {
		if calls.Add(1) == at {
			s.disk.Kill()
			m.cut.Store(true)
		}
		return nil
	})
	m.work(t)
	s.disk.Kill()
	s.wrap = nil
	for _, policy := range []crashfs.Policy{crashfs.Nothing(), crashfs.Everything(), crashfs.Some(seed), crashfs.Torn(seed)} {
		after := s
		after.disk = s.disk.Crash(policy)
		check(m, fmt.Sprintf("seed %d, call %d, %s", seed, min(at, calls.Load()), policy.Name), after)
	}
	_ = m.b.Close() // of the dead one
}

// With an interval between syncs the power goes at any call, while messages are published,
// delayed, consumed, committed and buried: what was synced is in one of the logs then, and
// no position says more than they have.
func TestAPowerCutWithAnIntervalCostsNothingThatWasSynced(t *testing.T) {
	brokertest.Slow(t)
	for seed := uint64(0); seed < 120 && !t.Failed(); seed++ {
		cutAtAnyCall(t, seed, nil, func(m *intervalModel, what string, after setup) {
			t.Run(what, func(t *testing.T) {
				if err := m.outlives(t, after); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A careless store says that all is durable, and has done nothing for that.
type careless struct{ store.Store }

func (c careless) Partition(topic string, number int) (store.Partition, error) {
	p, err := c.Store.Partition(topic, number)
	return carelessPartition{p}, err
}

type carelessPartition struct{ store.Partition }

func (carelessPartition) Sync(done func(error)) { done(nil) }

// The negative control: the model must see positions that are written before their logs
// are durable.
func TestPositionsAheadOfTheirLogsAreSeenWithAnInterval(t *testing.T) {
	for seed := range uint64(120) {
		var seen error
		cutAtAnyCall(t, seed, func(s store.Store) store.Store { return careless{s} }, func(m *intervalModel, what string, after setup) {
			m.synced, m.groups = nil, nil // nothing was
			if err := m.outlives(t, after); err != nil {
				seen = fmt.Errorf("%s: %w", what, err)
			}
		})
		if seen != nil {
			t.Log(seen)
			return
		}
	}
	t.Error("a store that syncs nothing shows in none of 480 power cuts")
}
