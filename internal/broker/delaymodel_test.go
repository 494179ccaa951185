package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A delayModel is what a broker has promised of delayed messages, over several crashes.
type delayModel struct {
	mu    sync.Mutex
	acked map[string][16]byte // messages, and the incarnation that they were acknowledged for
	gone  map[[16]byte]bool   // incarnations whose deletion was tried
	count int
}

// publish sends batches to topics until the broker dies or it has sent so many.
func (m *delayModel) publish(b *bus, r *rand.Rand, batches int) {
	answers := make(chan struct{}, batches)
	begun := 0
	for range batches {
		topic, err := b.MakeTopic(fmt.Sprint("t", r.IntN(3)))
		if err != nil {
			break
		}
		var p batch.Builder
		var texts []string
		m.mu.Lock()
		for range 1 + r.IntN(4) {
			texts = append(texts, fmt.Sprint("message ", m.count, " ", strings.Repeat("x", r.IntN(200))))
			m.count++
			headers := []batch.Header{deliverAtHeader(time.Now().Add(time.Duration(r.IntN(40)) * time.Millisecond))}
			p.Add(1, nil, []byte(texts[len(texts)-1]), headers[:min(1, r.IntN(4))]...) // one in four does not wait
		}
		m.mu.Unlock()
		p.Close(0)
		if err := begin(b, topic, 0, p.Bytes(), func(_ int64, err error) {
			if err == nil {
				m.mu.Lock()
				for _, text := range texts {
					m.acked[text] = topic.ID
				}
				m.mu.Unlock()
			}
			answers <- struct{}{}
		}); err == nil {
			begun++
		}
		if r.IntN(5) == 0 {
			time.Sleep(time.Millisecond) // some become due meanwhile
		}
	}
	for range begun {
		<-answers
	}
}

// delete deletes topics while others publish to them.
func (m *delayModel) delete(b *bus, r *rand.Rand, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+r.IntN(20)) * time.Millisecond):
		}
		topic, err := b.Topic(fmt.Sprint("t", r.IntN(3)))
		if err != nil {
			continue
		}
		m.mu.Lock()
		m.gone[topic.ID] = true
		m.mu.Unlock()
		_ = b.DeleteTopicByID(topic.ID)
	}
}

// missing lists what was acknowledged and is not in the topic that it was for, and what
// is in another one.
func (m *delayModel) missing(t *testing.T, b *bus) (missing, astray []string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	at := make(map[string][16]byte)
	for i := range 3 {
		topic, err := b.Topic(fmt.Sprint("t", i))
		if errors.Is(err, store.ErrUnknownTopic) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for v := range valuesOf(t, b, topic.Name) { // what a cut has torn is passed over
			at[v] = topic.ID
			if id, ok := m.acked[v]; ok && id != topic.ID {
				astray = append(astray, v)
			}
		}
	}
	for text, id := range m.acked {
		if !m.gone[id] && at[text] != id {
			missing = append(missing, text)
		}
	}
	return missing, astray
}

// A broker dies again and again, the process or the power, while delayed messages are
// published, delivered and moved, and topics deleted and created again. In the end each message
// that was acknowledged is in the incarnation that it was for, unless that was deleted.
func TestDelayedMessagesOverKillsAndDeletions(t *testing.T) {
	brokertest.Slow(t)
	for seed := range uint64(12) {
		every := time.Duration(0)
		if seed%3 == 2 {
			every = time.Millisecond // -fsync, and kills of the process alone
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { delayedOverKills(t, seed, every) })
	}
}

func delayedOverKills(t *testing.T, seed uint64, every time.Duration) {
	r := rand.New(rand.NewPCG(seed, 1))
	m := &delayModel{acked: make(map[string][16]byte), gone: make(map[[16]byte]bool)}
	disk := crashfs.New()
	options := func(disk *crashfs.FS) setup {
		s := delaysOf(disk, 2000)
		s.log = commitlog.Options{SyncEvery: every, SegmentBytes: 20_000}
		return s
	}
	for range 5 {
		b, err := open(options(disk))
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int64
		last := 20 + r.Int64N(1500)
		disk.SetHook(func(crashfs.Call) error {
			if calls.Add(1) == last {
				disk.Kill()
			}
			return nil
		})
		stop := make(chan struct{})
		var deleting sync.WaitGroup
		seeds := r.Uint64()
		deleting.Go(func() { m.delete(b, rand.New(rand.NewPCG(seeds, 2)), stop) })
		m.publish(b, r, 150)
		close(stop)
		deleting.Wait()
		disk.Kill()
		_ = b.Close()
		if every > 0 {
			disk = disk.Crash(crashfs.Everything())
		} else {
			disk = disk.Crash([]crashfs.Policy{crashfs.Everything(), crashfs.Nothing(), crashfs.Some(r.Uint64()), crashfs.Torn(r.Uint64())}[r.IntN(4)])
		}
	}
	s := options(disk)
	book, log := newLog()
	s.options.Log = log
	b := mustOpen(t, s)
	defer mustClose(t, b)
	defer func() {
		if missing, _ := m.missing(t, b); len(missing) > 0 {
			t.Errorf("missing are %.100q, %v wait; the log is %q", missing, stillWaiting(t, b), book.Lines(""))
		}
	}()
	await(t, "what was acknowledged is there", func() bool {
		missing, _ := m.missing(t, b)
		return len(missing) == 0
	})
	if _, astray := m.missing(t, b); len(astray) > 0 {
		t.Errorf("in an incarnation that they were not for: %.100q", astray)
	}
	await(t, "nothing waits", func() bool { return len(stillWaiting(t, b)) == 0 })
	t.Logf("%d messages were acknowledged, %d incarnations deleted", len(m.acked), len(m.gone))
}
