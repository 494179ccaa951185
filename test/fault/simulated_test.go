package fault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// A simulated broker is the broker without its ports, on a disk in memory that
// forgets what was not synced.
type simulated struct {
	*inside
	fs *saboteur
}

// openSimulated opens a broker on a disk that may be sabotaged.
func openSimulated(disk *crashfs.FS, sabotaged sabotage) (*simulated, error) {
	fs := &saboteur{FS: disk, sabotage: sabotaged}
	s, err := commitlog.Open("/data", commitlog.Options{FS: fs, SegmentBytes: 3 << 10, JournalBytes: 160 << 10})
	if err != nil {
		return nil, err
	}
	limits := broker.DefaultLimits()
	limits.PositionsPause = 0
	b, err := broker.New(s, broker.Options{Limits: limits})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &simulated{insideOf(b), fs}, nil
}

// pledges are what a simulated broker has received and promised.
type pledges struct {
	generation int
	phoenix    fate // what the topic of this name holds
	ashes      fate // where the group stands in it
	orders     fate // where the group stands in the topic "orders"
	ghost      ghost

	mu    sync.Mutex // guards what follows, until the broker has ended
	sent  []string   // to the topic "orders", in order
	acked int        // of these
}

func newPledges() *pledges {
	return &pledges{phoenix: fate{"": true}, ashes: fate{"": true}, orders: fate{"": true}}
}

// publish sends so many messages to "orders", and waits when all are sent.
func (p *pledges) publish(s *simulated, size int, count int) error {
	t, err := s.MakeTopic("orders")
	if err != nil {
		return err
	}
	answers := make(chan error, count)
	for range count {
		p.mu.Lock()
		n := len(p.sent)
		text := fmt.Sprintf("order %d %s", n, strings.Repeat(string(rune('a'+n%26)), size))
		p.sent = append(p.sent, text)
		p.mu.Unlock()
		err := t.Partitions()[0].Append(batchtest.Values(text), broker.AppendOptions{}, func(_ int64, err error) {
			if err == nil {
				p.mu.Lock()
				p.acked = max(p.acked, n+1)
				p.mu.Unlock()
			}
			answers <- err
		})
		if err != nil {
			return err
		}
	}
	for range count {
		err = errors.Join(err, <-answers)
	}
	return err
}

// commit moves the group in a topic, and waits.
func commit(s *simulated, position fate, topic string, offset int64) error {
	return position.change(fmt.Sprint(offset), func() error {
		done := make(chan []error, 1)
		commits := []group.Commit{{Topic: topic, Offset: offset, LeaderEpoch: group.NoEpoch}}
		s.CommitOffsets(phoenixGroup, commits, func(errs []error) { done <- errs })
		return errors.Join(<-done...)
	})
}

// rise makes the phoenix with a new message; fall deletes it, with the positions in it.
func (p *pledges) rise(s *simulated) error {
	p.generation++
	text := fmt.Sprintf("life %d\n", p.generation)
	return p.phoenix.change(text, func() error {
		t, err := s.MakeTopic(phoenixTopic)
		if err != nil {
			return err
		}
		_, err = t.Partitions()[0].AppendAndWait(batchtest.Values(strings.TrimSuffix(text, "\n")))
		return err
	})
}

func (p *pledges) fall(s *simulated) error {
	return p.phoenix.change("", func() error {
		return p.ashes.change("", func() error { return s.DeleteTopic(phoenixTopic) })
	})
}

// forget deletes the group.
func (p *pledges) forget(s *simulated) error {
	return p.ashes.change("", func() error {
		return p.orders.change("", func() error { return s.DeleteOffsets(phoenixGroup, nil) })
	})
}

// work uses everything, and ends with the first error.
func (p *pledges) work(s *simulated) error {
	for _, step := range []func() error{
		func() error { return p.publish(s, 20, 1) },
		func() error { return p.publish(s, 300, 9) },
		func() error { return commit(s, p.orders, "orders", 2) },
		func() error { return p.rise(s) },
		func() error { return commit(s, p.ashes, phoenixTopic, 1) },
		together(
			func() error { return p.publish(s, 700, 6) },
			func() error { return commit(s, p.orders, "orders", 5) },
			func() error { return p.fall(s) },
		),
		func() error { return p.rise(s) },
		together(
			func() error { return commit(s, p.ashes, phoenixTopic, 1) },
			func() error { return p.haunt(s) },
			func() error { return p.publish(s, 100, 1) },
		),
		together(
			func() error { return p.forget(s) },
			func() error { return p.publish(s, 40, 2) },
			func() error { return p.exorcise(s) },
		),
		together(
			func() error { return p.haunt(s) },
			func() error { return p.publish(s, 30, 1) },
		),
		func() error { return p.appear(s) },
		func() error { return p.publish(s, 5000, 1) },
		together(
			func() error { return commit(s, p.orders, "orders", 9) },
			func() error { return p.publish(s, 50, 3) },
		),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// together runs steps at a time, so that their logs share rounds of the journal.
func together(steps ...func() error) func() error {
	return func() error {
		errs := make([]error, len(steps))
		var working sync.WaitGroup
		for i, step := range steps {
			working.Go(func() { errs[i] = step() })
		}
		working.Wait()
		return errors.Join(errs...)
	}
}

// reuse is what a broker is used for after a crash.
func (p *pledges) reuse(s *simulated) error {
	err := errors.Join(p.publish(s, 1000, 2), commit(s, p.orders, "orders", 1))
	if err == nil && !p.phoenix[""] {
		err = p.fall(s)
	}
	if err == nil && p.ghost != (ghost{}) {
		err = p.exorcise(s)
	}
	return errors.Join(err, p.rise(s), p.haunt(s))
}

// A sighting is what is found of it all.
type sighting struct {
	orders                 []string
	phoenix, ashes, behind string // behind is where the group stands in "orders"
}

func (s *simulated) look() (found sighting, err error) {
	if found.orders, err = s.texts("orders"); err != nil {
		return found, err
	}
	life, err := s.texts(phoenixTopic)
	for _, text := range life {
		found.phoenix += text + "\n"
	}
	found.ashes, found.behind = s.position(phoenixTopic), s.position("orders")
	return found, err
}

func (s *simulated) position(topic string) string {
	if c, ok := s.CommittedOffset(phoenixGroup, topic, 0); ok {
		return fmt.Sprint(c.Offset)
	}
	return ""
}

// texts reads a topic, none if there is no such topic. What is reported as damaged or
// missing comes as empty texts: a power cut may tear one message and leave a later one.
func (s *simulated) texts(topic string) (texts []string, err error) {
	t, err := s.Topic(topic)
	if errors.Is(err, store.ErrUnknownTopic) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	log := t.Partitions()[0]
	var c store.Chunk
	defer c.Release()
	for offset, high := log.Offsets(); offset < high; offset = int64(len(texts)) {
		batches, err := read(log, offset, &c)
		if next, lost := pastHole(err); lost {
			texts = append(texts, make([]string, next-offset)...)
			continue
		}
		if err == nil {
			texts, err = appendTexts(texts, batches)
		}
		if err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func read(log *broker.Partition, offset int64, c *store.Chunk) ([]byte, error) {
	if err := log.Fetch(offset, 3000, c); err != nil {
		return nil, err
	}
	return c.Load(nil)
}

// pastHole is the offset behind what an error of a log says is lost.
func pastHole(err error) (next int64, lost bool) {
	if e, ok := errors.AsType[*store.DamageError](err); ok {
		return e.Next, true
	}
	if e, ok := errors.AsType[*store.GapError](err); ok {
		return e.Next, true
	}
	return 0, false
}

// appendTexts adds the messages of batches.
func appendTexts(texts []string, batches []byte) ([]string, error) {
	list, err := batchtest.Split(batches)
	if err != nil {
		return nil, err
	}
	var it batch.Iterator
	for _, b := range list {
		if err := it.Reset(b.Bytes); err != nil {
			return nil, err
		}
		for it.Next() {
			texts = append(texts, string(it.Record().Value))
		}
		if err := it.Err(); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// judge compares what was found with what was promised, and returns what somebody
// a client that has seen it is promised from then on.
func (p *pledges) judge(found sighting) (after *pledges, err error) {
	n := len(found.orders)
	switch {
	case n < p.acked:
		return nil, fmt.Errorf("%d orders are there, %d were acknowledged", n, p.acked)
	case n > len(p.sent) || !slices.Equal(found.orders[:p.acked], p.sent[:p.acked]):
		return nil, fmt.Errorf("%d orders are not what was sent", n)
	case !slices.EqualFunc(found.orders, p.sent[:n], func(got, sent string) bool { return got == sent || got == "" }):
		return nil, fmt.Errorf("%d orders are not what was sent", n)
	case !p.phoenix[found.phoenix]:
		return nil, fmt.Errorf("the phoenix holds %q, and may hold %v", found.phoenix, p.phoenix)
	case !p.ashes[found.ashes] || found.phoenix == "" && found.ashes != "":
		return nil, fmt.Errorf("the group is at %q in the phoenix %q, and may be at %v", found.ashes, found.phoenix, p.ashes)
	case !p.orders[found.behind]:
		return nil, fmt.Errorf("the group is at %q in the orders, and may be at %v", found.behind, p.orders)
	}
	return &pledges{
		generation: p.generation, sent: found.orders, acked: n,
		phoenix: fate{found.phoenix: true}, ashes: fate{found.ashes: true}, orders: fate{found.behind: true},
	}, nil
}
